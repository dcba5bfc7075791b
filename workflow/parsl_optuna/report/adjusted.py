"""The test of what one hyperparameter explains beyond the others, and which way its effect goes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from parsl_optuna.report import linear
from parsl_optuna.report.configurations import Series, label
from parsl_optuna.report.entangled import Design, Entanglement

_LEAST_FREEDOM = 0.5
"""Share of the configurations that a model of all hyperparameters has to leave for the rest. With less, its
test sees little: a hyperparameter is adjusted for those that vary with it only."""

_OF_TREND = 0.8
"""Weight of the test of a trend: most hyperparameters have one, and a curvature is seldom weak."""

_SEEN = 0.1
"""Level of the tests, of two sides, that both slopes of a turn are there; without one, the trend is told."""


@dataclass(frozen=True)
class Adjusted:
    """What a hyperparameter explains of a metric.

    Attributes:
        p: The p-value; missing where the metric is the same everywhere, or configurations are too few.
        shape: Which way the metric goes, all else equal: ``rises``, ``falls``, ``least near 0.5``, ``least at
            x, greatest at y``; empty without a test, and where several hyperparameters are tested together.
    """

    p: float
    shape: str


def adjusted(design: Design, name: str, values: Series, y: np.ndarray, together: Entanglement) -> Adjusted:
    """Test by F what a hyperparameter explains of the ranks of *y* beyond all others, or beyond its partners.

    Of a scale, the trend is tested and then the curvature beyond it, corrected for being two. Where its
    partners determine a hyperparameter, all of them are tested together. What only some of its values have
    (`entangled.Design.owned`) is not adjusted for: which values of it were tried is chance, too. The p-value
    is the larger one of F and of its robust form, and at least `linear.rarest`.

    Source: Conover and Iman 1981, The American Statistician 35, for linear models of ranks.

    Args:
        design: The configurations that have the hyperparameter.
        name: Its column.
        values: Its values there.
        y: The metric there ``(n,)``.
        together: How it varies with others.
    """
    if len(np.unique(y)) < 2:
        return Adjusted(math.nan, "")
    is_one = not together.is_determined
    tested = [name] if is_one else [name, *together.partners]
    mine = np.column_stack([design.columns[one] for one in tested])
    owned = frozenset[str]().union(*(design.owned(one) for one in tested))
    all_others = [one for one in design.names if one not in tested and one not in owned]
    ranks = pd.Series(y).rank().to_numpy(dtype=float)
    for others in (all_others, together.partners if is_one else ()):
        model = np.column_stack([np.ones(len(y)), *(design.columns[one] for one in others)])
        whole = linear.added(model, mine, ranks)
        if whole.added and whole.freedom >= _LEAST_FREEDOM * len(y):
            break
    if math.isnan(whole.p):
        return Adjusted(math.nan, "")
    p = _trend_or_curve(model, mine, ranks) if is_one and linear.is_scale(values) else _p(whole)
    return Adjusted(max(p, linear.rarest(y)), _shape(values, model, mine, ranks) if is_one else "")


def _p(test: linear.FTest) -> float:
    return max(test.p, test.robust_p)


def _trend_or_curve(model: np.ndarray, columns: np.ndarray, ranks: np.ndarray) -> float:
    """Return the p-value of a trend, or of a curvature beyond it, by Bonferroni's correction with weights."""
    trend, curve = columns[:, :1], columns[:, 1:]
    tests = (
        (linear.added(model, trend, ranks), _OF_TREND),
        (linear.added(np.column_stack([model, trend]), curve, ranks), 1 - _OF_TREND),
    )
    return min(1.0, *(1.0 if math.isnan(test.p) else _p(test) / weight for test, weight in tests))


def _shape(values: Series, model: np.ndarray, columns: np.ndarray, ranks: np.ndarray) -> str:
    """Say which way the fit goes; where it turns only if either side of the turn can be seen by itself."""
    fitted = linear.added(model, columns, ranks).fitted
    if not linear.is_scale(values):
        means: Series = pd.Series(fitted, index=values.index).groupby(values.map(label)).mean()
        return f"least at {means.idxmin()}, greatest at {means.idxmax()}"
    order = np.argsort(values.to_numpy(dtype=float), kind="stable")
    curve, trend = fitted[order], columns[order, 0]
    for word, index, sign in (("least", int(curve.argmin()), 1.0), ("greatest", int(curve.argmax()), -1.0)):
        if not len(curve) <= 4 * index <= 3 * len(curve):  # the middle half: the other side is no mere bend
            continue
        sides = (order[: index + 1], order[index:])
        before, behind = (_slope(model[side], columns[side, :1], sign * ranks[side]) for side in sides)
        if before < 0 < behind:
            return f"{word} near {float(values.iloc[order[index]]):.3g}"
    return "rises" if float(curve @ trend) > 0 else "falls"


def _slope(model: np.ndarray, trend: np.ndarray, ranks: np.ndarray) -> float:
    """Return the slope on one side of a turn, 0 where it may be chance: parabolas turn beside a step."""
    if np.ptp(ranks) == 0:
        return 0.0
    for others in (model, np.ones((len(ranks), 1))):
        test = linear.added(others, trend, ranks)
        if test.added and test.freedom >= _LEAST_FREEDOM * len(ranks):
            break
    return float(test.fitted @ (trend[:, 0] - trend.mean())) if _p(test) < _SEEN else 0.0
