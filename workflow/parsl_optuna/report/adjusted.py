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
    partners determine a hyperparameter, all of them are tested together. The p-value is at least
    `linear.rarest`.

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
    all_others = [one for one in design.names if one not in tested]
    ranks = pd.Series(y).rank().to_numpy(dtype=float)
    for others in (all_others, together.partners if is_one else ()):
        model = np.column_stack([np.ones(len(y)), *(design.columns[one] for one in others)])
        whole = linear.added(model, mine, ranks)
        if whole.added and whole.freedom >= _LEAST_FREEDOM * len(y):
            break
    if math.isnan(whole.p):
        return Adjusted(math.nan, "")
    p = _trend_or_curve(model, mine, ranks) if is_one and linear.is_scale(values) else whole.p
    return Adjusted(max(p, linear.rarest(y)), _shape(values, whole.fitted) if is_one else "")


def _trend_or_curve(model: np.ndarray, columns: np.ndarray, ranks: np.ndarray) -> float:
    """Return the p-value of a trend, or of a curvature beyond it, by Bonferroni's correction with weights."""
    trend, curve = columns[:, :1], columns[:, 1:]
    tests = (
        (linear.added(model, trend, ranks), _OF_TREND),
        (linear.added(np.column_stack([model, trend]), curve, ranks), 1 - _OF_TREND),
    )
    return min(1.0, *(1.0 if math.isnan(test.p) else test.p / weight for test, weight in tests))


def _shape(values: Series, fitted: np.ndarray) -> str:
    if not linear.is_scale(values):
        means: Series = pd.Series(fitted, index=values.index).groupby(values.map(label)).mean()
        return f"least at {means.idxmin()}, greatest at {means.idxmax()}"
    order = np.argsort(values.to_numpy(dtype=float), kind="stable")
    curve = fitted[order]
    for word, index in (("least", int(curve.argmin())), ("greatest", int(curve.argmax()))):
        if len(curve) <= 4 * index <= 3 * len(curve):  # the middle half: the other side is no mere bend
            return f"{word} near {float(values.iloc[order[index]]):.3g}"
    return "rises" if curve[-1] > curve[0] else "falls"
