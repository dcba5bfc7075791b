"""Whether the effect of one hyperparameter depends on another one: F-tests in linear models."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as _stats

from parsl_optuna.report.configurations import (
    PREFIX,
    STRATA,
    Frame,
    Series,
    is_numeric,
    label,
    means,
    strata,
    varied,
)
from parsl_optuna.report.effects import ADAPTIVE, FEW_VALUES, corrected, is_adaptive

stats: Any = _stats  # as in `effects`

_LEAST_FREEDOM = 5
"""Configurations beyond the coefficients of the model: with fewer, an F-test sees almost nothing."""

_MOST = 8
"""Hyperparameters of which all pairs are tried, in alphabetical order: 28 pairs, each corrected for all."""


def interactions(rows: Frame, metric: str, *, sampler_learns: bool = True) -> Frame:
    """Return a row per pair of hyperparameters that configurations have together, by problem and method.

    Two linear models explain the metric of configurations (means over seeds): both have the main effects of
    all hyperparameters that vary, one has the products of the two as well. ``share`` is the part of the
    rest's sum of squares that the products explain, ``p`` that of the F-test between the models, ``p_holm``
    corrected for all tests of the table.

    Args:
        rows: Trials, from `configurations.flatten`.
        metric: Column to explain.
        sampler_learns: As for `effects.effects`.
    """
    found: list[dict[str, Any]] = []
    for head, group in strata(rows):
        note = ADAPTIVE if is_adaptive(group, sampler_learns) else ""
        units = means(group, metric)
        for first, second in itertools.combinations(varied(units)[:_MOST], 2):
            together = units[units[first].notna() & units[second].notna()]
            entry = _tested(together, first, second)
            if entry is not None:
                names = {"first": first.removeprefix(PREFIX), "second": second.removeprefix(PREFIX)}
                found.append(head | names | entry | {"note": note})
    table: Frame = pd.DataFrame(found)
    if table.empty:
        return table
    table.loc[table["note"] != "", "p"] = math.nan
    return corrected(table, [*STRATA, "first", "second"], "p")


def _tested(units: Frame, first: str, second: str) -> dict[str, Any] | None:
    names = varied(units)
    if not {first, second} <= set(names) or units["y"].nunique() < 2:
        return None
    one, other = _columns(units[first]), _columns(units[second])
    products = np.einsum("na,nb->nab", one, other).reshape(len(units), -1)
    rest = [_columns(units[name]) for name in names if units[name].notna().all()]
    additive = np.column_stack([np.ones(len(units)), *rest])
    y = units["y"].to_numpy(dtype=float)
    before, n_before = _residual(additive, y)
    after, n_after = _residual(np.column_stack([additive, products]), y)
    freedom, added = len(y) - n_after, n_after - n_before
    if added == 0 or freedom < _LEAST_FREEDOM or before <= 0:
        return None
    f = math.inf if after <= 0 else (before - after) / added / (after / freedom)
    return {
        "configurations": len(y),
        "share": (before - after) / before,
        "f": f,
        "df": f"{added}, {freedom}",
        "p": float(stats.f.sf(f, added, freedom)),
    }


def _columns(values: Series) -> np.ndarray:
    """Return columns ``(n, k)``: an indicator for every value of a hyperparameter but one, or its ranks."""
    labels = values.map(label)
    if labels.nunique() > FEW_VALUES and is_numeric(values):
        ranks = values.rank().to_numpy(dtype=float)
        return ((ranks - ranks.mean()) / ranks.std())[:, None]
    return pd.get_dummies(labels, drop_first=True).to_numpy(dtype=float)


def _residual(x: np.ndarray, y: np.ndarray) -> tuple[float, int]:
    """Return the residual sum of squares of a least-squares fit, and its number of free coefficients."""
    coefficients, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    rest = y - x @ coefficients
    total = float(((y - y.mean()) ** 2).sum())
    found = float(rest @ rest)
    return (found if found > 1e-12 * total else 0.0), int(rank)  # below, it is rounding
