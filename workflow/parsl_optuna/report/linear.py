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


@dataclass(frozen=True)
class FTest:
    """What columns add to a model.

    Attributes:
        share: Part of the rest's sum of squares that they explain.
        f: The statistic F.
        added: Coefficients that they add; 0 if the model had them already.
        freedom: Configurations beyond the coefficients of the larger model.
        p: The p-value; missing without added coefficients, freedom or a rest to explain.
    """

    share: float
    f: float
    added: int
    freedom: int
    p: float


def columns(values: Series) -> np.ndarray:
    """Return columns ``(n, k)``: an indicator for every value of a hyperparameter but one, or its ranks."""
    labels = values.map(label)
    if labels.nunique() > FEW_VALUES and is_numeric(values):
        ranks = values.rank().to_numpy(dtype=float)
        return ((ranks - ranks.mean()) / ranks.std())[:, None]
    return pd.get_dummies(labels, drop_first=True).to_numpy(dtype=float)


def added(model: np.ndarray, more: np.ndarray, y: np.ndarray) -> FTest:
    """Test by F whether the columns *more* ``(n, k)`` explain what the *model* ``(n, m)`` leaves of *y*.

    Source: the extra sum of squares, Draper and Smith, Applied Regression Analysis, chapter 6.
    """
    y = y / max(float(np.abs(y).max()), 1e-300)  # F has no unit, and squares overflow
    before, n_before = _residual(model, y)
    after, n_after = _residual(np.column_stack([model, more]), y)
    n_added, freedom = n_after - n_before, len(y) - n_after
    if n_added == 0 or freedom < 1 or before <= 0:
        return FTest(math.nan, math.nan, n_added, freedom, math.nan)
    f = math.inf if after <= 0 else (before - after) / n_added / (after / freedom)
    return FTest((before - after) / before, f, n_added, freedom, float(stats.f.sf(f, n_added, freedom)))


def _residual(x: np.ndarray, y: np.ndarray) -> tuple[float, int]:
    """Return the residual sum of squares of a least-squares fit, and its number of free coefficients."""
    coefficients, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    rest = y - x @ coefficients
    total = float(((y - y.mean()) ** 2).sum())
    found = float(rest @ rest)
    return (found if found > _ROUNDING * total else 0.0), int(rank)
