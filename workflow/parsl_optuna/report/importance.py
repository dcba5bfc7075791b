"""How much each hyperparameter matters for a metric: permutations in a forest that has to prove itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from parsl_optuna.report.configurations import PREFIX, Frame, is_numeric, label, means, strata, varied
from parsl_optuna.report.entangled import entanglements

_FOLDS = 5

_LEAST_CONFIGURATIONS = 20
"""Four configurations per fold; below, the forest's own error is a coin toss."""

_PER_PARAMETER = 5
"""Configurations per hyperparameter; in tests with 3 of 6 that matter, fewer leave the others in any
order."""

_LEAST_R2 = 0.1
"""A forest that explains less of what it has not seen ranks noise."""

FEW = "are needed for a ranking"
"""Ends a note on too few configurations."""

_MOST_CONFIGURATIONS = 1000
"""An even sample of more ranks them as well, and takes a part of the time."""

_TREES = 100
_REPEATS = 5


def importances(rows: Frame, metrics: Sequence[str]) -> Frame:
    """Return, per problem, method and metric, what each hyperparameter adds to the prediction of the metric.

    A random forest learns the rank of configurations from four fifths of them and predicts the others.
    ``importance`` is how much of the explained variance R^2 is lost when a hyperparameter is shuffled among
    the others; ``r2`` is what the forest explains of configurations that it has not seen. Where that is
    little, or configurations are few, there is one row whose ``note`` says so, and no ranking. The
    ``note`` on a hyperparameter says which others determine it: the forest may have used them instead.

    Source: Breiman 2001, Machine Learning 45, with folds in place of out-of-bag samples.

    Args:
        rows: Trials, from `configurations.flatten`.
        metrics: Columns to explain.
    """
    found: list[dict[str, Any]] = []
    for head, group in strata(rows):
        for metric in metrics:
            units = means(group, metric)
            names = varied(units)
            if names:
                found += [head | {"metric": metric} | entry for entry in _importances(units, names)]
    return pd.DataFrame(found)


def _importances(units: Frame, names: list[str]) -> list[dict[str, Any]]:
    least = max(_LEAST_CONFIGURATIONS, _PER_PARAMETER * len(names))
    if len(units) < least:
        return [_no_ranking(f"{len(units)} configurations; {least} {FEW}")]
    if units["y"].nunique() < 2:
        return [_no_ranking("the metric is the same everywhere")]
    shown = units.iloc[np.unique(np.linspace(0, len(units) - 1, _MOST_CONFIGURATIONS).round().astype(int))]
    r2, losses = _forest(
        np.column_stack([_coded(shown[name]) for name in names]), shown["y"].rank().to_numpy()
    )
    if r2 < _LEAST_R2:
        return [
            _no_ranking(f"a forest explains {max(r2, 0.0):.0%} of what it has not seen: nothing to rank", r2)
        ]
    ranked = sorted(zip(names, losses, strict=True), key=lambda one: -one[1])
    together = entanglements(units)
    return [
        {
            "parameter": name.removeprefix(PREFIX),
            "importance": float(loss),
            "r2": r2,
            "note": together[name].note,
        }
        for name, loss in ranked
    ]


def _no_ranking(note: str, r2: float = float("nan")) -> dict[str, Any]:
    return {"parameter": "", "importance": float("nan"), "r2": r2, "note": note}


def _coded(values: Any) -> np.ndarray:
    """Return a column as numbers ``(n,)``; where it has no effect, a value below all others."""
    if is_numeric(values):
        numbers = values.to_numpy(dtype=float)
    else:
        labels = values.map(label, na_action="ignore")
        numbers = labels.map({one: rank for rank, one in enumerate(sorted(labels.dropna().unique()))})
        numbers = numbers.to_numpy(dtype=float)
    return np.where(np.isnan(numbers), np.nanmin(numbers) - 1.0, numbers)


def _forest(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Return R^2 on configurations left out, and what is lost of it when each column is shuffled.

    Args:
        x: Hyperparameters ``(n, d)``.
        y: What is explained ``(n,)``.
    """
    from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415  a second that nothing else here needs

    stream = np.random.default_rng(0)
    folds = stream.permutation(len(y)) % _FOLDS
    whole = float(((y - y.mean()) ** 2).sum())
    rest, shuffled = 0.0, np.zeros(x.shape[1])
    for fold in range(_FOLDS):
        seen, new = folds != fold, folds == fold
        forest = RandomForestRegressor(_TREES, min_samples_leaf=2, random_state=fold).fit(x[seen], y[seen])
        rest += float(((forest.predict(x[new]) - y[new]) ** 2).sum())
        others = np.tile(x[new], (x.shape[1], _REPEATS, 1, 1))  # one call: each has a cost of its own
        for column, repeat in np.ndindex(others.shape[:2]):
            others[column, repeat, :, column] = stream.permutation(x[new][:, column])
        missed = (forest.predict(others.reshape(-1, x.shape[1])).reshape(others.shape[:3]) - y[new]) ** 2
        shuffled += missed.sum(2).mean(1)
    return 1.0 - rest / whole, (shuffled - rest) / whole
