"""How good and how robust each value of a hyperparameter is: over the others, and over seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from parsl_optuna.core.objective import finite
from parsl_optuna.report.configurations import (
    FEW_VALUES,
    PREFIX,
    Frame,
    Series,
    label,
    means,
    n_values,
    strata,
    varied,
    within,
)


def levels(rows: Frame, metric: str) -> Frame:
    """Return a row per value of every hyperparameter with few values, by problem and method.

    ``median`` and ``low`` to ``high`` (the quartiles) are over configurations, each the mean of its seeds:
    how much the other hyperparameters matter with this value. ``sd_seeds`` is the standard deviation over
    seeds, pooled over configurations. ``ok`` is the share of trials that ended ok; ``verdicts`` counts the
    task's own words on these.

    Args:
        rows: Trials, from `configurations.flatten`; those that did not end ok count in ``ok``.
        metric: Column to describe.
    """
    found: list[dict[str, Any]] = []
    for head, good in strata(rows):
        every = within(rows, head)
        for name in varied(good):
            if n_values(good[name]) > FEW_VALUES:
                continue
            of_all, of_good = (one[name].map(label, na_action="ignore") for one in (every, good))
            values = sorted(of_good.dropna().unique())
            for value in values:
                own = good[of_good == value]
                n = int((of_all == value).sum())
                entry = {
                    "parameter": name.removeprefix(PREFIX),
                    "value": value,
                    "trials": n,
                    "ok": len(own) / n,
                }
                found.append(head | entry | _described(own, metric) | {"verdicts": _verdicts(own)})
    return pd.DataFrame(found)


def _described(own: Frame, metric: str) -> dict[str, Any]:
    units = means(own, metric)
    y = units["y"].to_numpy(dtype=float) if len(units) else np.array([math.nan])
    low, median, high = np.quantile(y, (0.25, 0.5, 0.75))
    seconds = own["runtime_sec"].median() if "runtime_sec" in own else math.nan
    return {
        "configurations": len(units),
        "median": float(median),
        "low": float(low),
        "high": float(high),
        "sd_seeds": _pooled(own, metric),
        "seconds": float(seconds),
    }


def _pooled(own: Frame, metric: str) -> float:
    """Return the standard deviation over seeds, pooled over configurations; missing without replicates."""
    y: Series = own[metric].map(finite).astype(float).dropna()
    groups = y.groupby(own["configuration"])
    freedom = len(y) - groups.ngroups
    return math.sqrt(float(((y - groups.transform("mean")) ** 2).sum()) / freedom) if freedom else math.nan


def _verdicts(own: Frame) -> str:
    if "verdict" not in own:
        return ""
    counts = own["verdict"].dropna().value_counts()
    return ", ".join(f"{count} {word}" for word, count in counts.items())
