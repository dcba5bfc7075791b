"""Whether the effect of one hyperparameter depends on another one: F-tests in linear models."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd

from parsl_optuna.report import linear
from parsl_optuna.report.configurations import (
    PREFIX,
    STRATA,
    Frame,
    means,
    strata,
    varied,
)
from parsl_optuna.report.effects import ADAPTIVE, corrected, is_adaptive
from parsl_optuna.report.entangled import Design

_LEAST_FREEDOM = 5
"""Configurations beyond the coefficients of the model: with fewer, an F-test sees almost nothing."""

_MOST = 8
"""Hyperparameters of which all pairs are tried, in alphabetical order: 28 pairs, each corrected for all."""


def interactions(rows: Frame, metric: str, *, sampler_learns: bool = True) -> Frame:
    """Return a row per pair of hyperparameters that configurations have together, by problem and method.

    Two linear models explain the metric of configurations (means over seeds): both have the main effects of
    all hyperparameters that vary, one has the products of the two as well. ``share`` is the part of the
    rest's sum of squares that the products explain. ``p`` is the larger one of the F-tests between the models
    for the values and for their ranks (at least `linear.rarest`): values alone see a product in a few large
    ones, ranks alone in two strong effects. ``p_holm`` is corrected for all tests of the table.

    Args:
        rows: Trials, from `configurations.flatten`.
        metric: Column to explain.
        sampler_learns: As for `effects.effects`.
    """
    found: list[dict[str, Any]] = []
    for head, group in strata(rows):
        note = ADAPTIVE if is_adaptive(group, sampler_learns) else ""
        units = means(group, metric)
        designs: dict[bytes, Design] = {}
        for first, second in itertools.combinations(varied(units)[:_MOST], 2):
            there = (units[first].notna() & units[second].notna()).to_numpy()
            together, key = units[there], there.tobytes()  # most pairs are of the same configurations
            if key not in designs:
                designs[key] = Design(together)
            entry = _tested(together, designs[key], first, second)
            if entry is not None:
                names = {"first": first.removeprefix(PREFIX), "second": second.removeprefix(PREFIX)}
                found.append(head | names | entry | {"note": note})
    table: Frame = pd.DataFrame(found)
    if table.empty:
        return table
    table.loc[table["note"] != "", "p"] = math.nan
    return corrected(table, [*STRATA, "first", "second"], "p")


def _tested(units: Frame, design: Design, first: str, second: str) -> dict[str, Any] | None:
    if not {first, second} <= set(design.names) or units["y"].nunique() < 2:
        return None
    one, other = design.straight(first), design.straight(second)
    products = np.einsum("na,nb->nab", one, other).reshape(len(units), -1)
    model, y = (
        np.column_stack([np.ones(len(units)), *design.columns.values()]),
        units["y"].to_numpy(dtype=float),
    )
    test = linear.added(model, products, y)
    if math.isnan(test.p) or test.freedom < _LEAST_FREEDOM:
        return None
    of_ranks = linear.added(model, products, units["y"].rank().to_numpy(dtype=float))
    return {
        "configurations": len(units),
        "share": test.share,
        "f": test.f,
        "df": f"{test.added}, {test.freedom}",
        "p": max(test.p, 1.0 if math.isnan(of_ranks.p) else of_ranks.p, linear.rarest(y)),
    }
