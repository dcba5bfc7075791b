"""Linear models of configurations: a hyperparameter's columns, and F-tests of what columns add."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as _stats

from parsl_optuna.report.configurations import FEW_VALUES, Series, is_numeric, label

stats: Any = _stats  # scipy's annotations lack what its functions return

_ROUNDING = 1e-12
"""Share of the whole sum of squares below which a rest is that of rounding."""

_ALONE = 1e-9
"""What a model leaves free of a configuration through which it goes, beside rounding."""


@dataclass(frozen=True)
class FTest:
    """What columns add to a model.

    Attributes:
        share: Part of the rest's sum of squares that they explain.
        f: The statistic F.
        added: Coefficients that they add; 0 if the model had them already.
        freedom: Configurations beyond the coefficients of the larger model.
        p: The p-value; missing without added coefficients, freedom or a rest to explain.
        fitted: What the added columns contribute to the larger model's fit ``(n,)``.
        robust_p: The p-value of a test that holds where the rest spreads more in some configurations than in
            others, as it does where an effect depends on another hyperparameter. Missing where ``p`` is.
    """

    share: float
    f: float
    added: int
    freedom: int
    p: float
    fitted: np.ndarray
    robust_p: float


def is_scale(values: Series) -> bool:
    """Whether a hyperparameter is treated as a scale: numbers, and more than are compared one by one."""
    return is_numeric(values) and values.nunique() > FEW_VALUES


def columns(values: Series) -> np.ndarray:
    """Return columns ``(n, k)``: an indicator for every value of a hyperparameter but one, or ranks.

    Squares follow the ranks of a scale: what is best in its middle has no correlation with the ranks. Means
    are 0 over the configurations that have the hyperparameter, and columns are 0 in the others: so they say
    nothing of whether it is there.

    Args:
        values: Values of configurations; missing in those that do not have the hyperparameter.
    """
    there = values.notna().to_numpy()
    known = values[there]
    if is_scale(known):
        ranks = known.rank().to_numpy(dtype=float)
        ranks = (ranks - ranks.mean()) / ranks.std()
        found = np.column_stack([ranks, ranks**2])
    else:
        found = pd.get_dummies(known.map(label), drop_first=True).to_numpy(dtype=float)
    placed = np.zeros((len(values), found.shape[1]))
    placed[there] = found - found.mean(0)
    return placed


def added(model: np.ndarray, more: np.ndarray, y: np.ndarray) -> FTest:
    """Test by F whether the columns *more* ``(n, k)`` explain what the *model* ``(n, m)`` leaves of *y*.

    Source: the extra sum of squares, Draper and Smith, Applied Regression Analysis, chapter 6.
    """
    y = y / max(float(np.abs(y).max()), 1e-300)  # F has no unit, and squares overflow
    before, n_before, _ = _fit(model, y)
    whole = np.column_stack([model, more])
    after, n_after, coefficients = _fit(whole, y)
    fitted, rest = more @ coefficients[model.shape[1] :], y - whole @ coefficients
    n_added, freedom = n_after - n_before, len(y) - n_after
    if n_added == 0 or freedom < 1 or before <= 0:
        return FTest(math.nan, math.nan, n_added, freedom, math.nan, fitted, math.nan)
    f = math.inf if after <= 0 else (before - after) / n_added / (after / freedom)
    p = float(stats.f.sf(f, n_added, freedom))
    robust = p if after <= 0 else _robust(model, more, y, rest, freedom)
    return FTest((before - after) / before, f, n_added, freedom, p, fitted, robust)


def _robust(model: np.ndarray, more: np.ndarray, y: np.ndarray, rest: np.ndarray, freedom: int) -> float:
    """Return the p-value of the columns *more* by Wald's test, with a variance of its own for every row.

    Source: HC3 of MacKinnon and White 1985, Journal of Econometrics 29.
    """
    own = _orthonormal(model)
    new = _orthonormal(more - own @ (own.T @ more), float(np.linalg.norm(more, axis=0).max()))
    free = 1.0 - (own**2).sum(1) - (new**2).sum(1)
    is_alone = free < _ALONE  # the model goes through it, and what it leaves says nothing of its spread
    spread = np.where(is_alone, rest @ rest / freedom, (rest / np.where(is_alone, 1.0, free)) ** 2)
    found = new.T @ y
    wald = float(found @ np.linalg.pinv(new.T @ (spread[:, None] * new)) @ found)
    return float(stats.f.sf(wald / len(found), len(found), freedom))


def rarest(y: np.ndarray) -> float:
    """Return twice the probability of one order of *y*, equal values not told apart: a test has two sides.

    No permutation test has a smaller p-value. F has: equal values fit many a model without a rest.
    """
    _, counts = np.unique(y, return_counts=True)
    log = sum(math.lgamma(count + 1) for count in counts) - math.lgamma(len(y) + 1)
    return min(1.0, 2.0 * math.exp(log))


def _fit(x: np.ndarray, y: np.ndarray) -> tuple[float, int, np.ndarray]:
    """Return the rest's sum of squares of a least-squares fit, its number of free coefficients, and all."""
    coefficients, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    rest = y - x @ coefficients
    total = float(((y - y.mean()) ** 2).sum())
    found = float(rest @ rest)
    return (found if found > _ROUNDING * total else 0.0), int(rank), coefficients


def _orthonormal(x: np.ndarray, size: float = 0.0) -> np.ndarray:
    """Return orthonormal columns that span those of *x*; *size* is that of columns that are no rounding."""
    left, sizes, _ = np.linalg.svd(x, full_matrices=False)
    return left[:, sizes > max(x.shape) * np.finfo(float).eps * max(size, float(sizes[0]))]


def basis(x: np.ndarray) -> np.ndarray:
    """Return orthonormal columns ``(n, r)`` that span those of *x* ``(n, k)`` and a constant."""
    return _orthonormal(np.column_stack([np.ones(len(x)), x]))
