"""What a table of trials says about its hyperparameters: effects, pairs, failures. Pure; numbers by scipy."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as _stats

from parsl_optuna.core.objective import finite

Frame = Any
"""A pandas data frame; its stubs call every selection one of a dozen types."""

Series = Any
"""A pandas series."""

stats: Any = _stats  # scipy's tests return named tuples that its annotations do not have

_FEW = 8
"""A parameter with at most so many values is compared value by value."""

_CONFIDENCE = 0.95
_LEAST = 4


def flatten(rows: Frame) -> Frame:
    """Return one row per trial: its own columns, and ``hp_NAME`` per hyperparameter."""
    params = pd.DataFrame([json.loads(text) for text in rows["hyperparams_json"]], index=rows.index)
    return rows.join(params.add_prefix("hp_"))


def varied(rows: Frame) -> list[str]:
    """Return the names of the hyperparameters that differ between the rows of `flatten`."""
    columns = [name for name in rows.columns if name.startswith("hp_")]
    return [name for name in columns if rows[name].map(json.dumps).nunique() > 1]


def outcomes(rows: Frame) -> Frame:
    """Count how trials went, by problem and method; by the task's own words where it has some."""
    how = rows["state"].where(rows["state"] != "ok", rows.get("outcome", rows["state"]).fillna("ok"))
    counts = rows.assign(how=how).groupby(["problem", "method", "how"]).size()
    return counts.rename("trials").reset_index()


def effects(rows: Frame, metrics: Sequence[str]) -> Frame:
    """Return, per problem, method, metric and hyperparameter, how they go together.

    A parameter with few values has a row per value: mean, 95 % interval (Student's t), and the p-value
    of Kruskal and Wallis' test over all values. Any other has one row with Spearman's rank
    correlation, its 95 % interval (Fisher's z) and p-value. ``p_holm`` is corrected for all tests on the
    same metric (Holm).
    """
    found: list[dict[str, Any]] = []
    good = rows[rows["state"] == "ok"]
    for (problem, method), group in good.groupby(["problem", "method"]):
        for metric in metrics:
            known = group[group[metric].map(finite).notna()]
            for name in varied(known):
                head = {"problem": problem, "method": method, "metric": metric, "parameter": name[3:]}
                found += [head | entry for entry in _effect(known[name], known[metric].astype(float))]
    table: Frame = pd.DataFrame(found)
    if table.empty:
        return table
    tests = table.drop_duplicates(["problem", "method", "metric", "parameter"])
    keys = ["problem", "method", "metric", "parameter"]
    corrected = tests[keys].assign(
        p_holm=tests.groupby("metric")["p"].transform(lambda p: holm(p.to_numpy(dtype=float)))
    )
    return table.merge(corrected, on=keys)


def pairs(rows: Frame, metrics: Sequence[str]) -> Frame:
    """Compare the two values of every two-valued hyperparameter, trial against trial.

    Trials are paired that agree in everything else, seeds included. Per problem, method and metric: mean
    difference (second value minus first) with its 95 % interval, effect size d_z = mean / sd, the
    p-values of the paired t-test and of Wilcoxon's signed ranks, and ``p_holm``, the t-test's corrected
    over problems and parameters.
    """
    found: list[dict[str, Any]] = []
    good = rows[rows["state"] == "ok"]
    for (problem, method), group in good.groupby(["problem", "method"]):
        names = varied(group)
        for name in names:
            levels = sorted(group[name].dropna().unique(), key=str)
            if len(levels) != 2:
                continue
            rest = [other for other in names if other != name] + ["seed"]
            for metric in metrics:
                entry = _paired(group, name, levels, rest, metric)
                if entry is not None:
                    head = {"problem": problem, "method": method, "metric": metric, "parameter": name[3:]}
                    found.append(head | entry)
    table: Frame = pd.DataFrame(found)
    if not table.empty:
        table["p_holm"] = table.groupby("metric")["p_t"].transform(lambda p: holm(p.to_numpy(dtype=float)))
    return table


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values corrected for their number.

    Source: Holm 1979, Scand. J. Statist. 6. Missing ones stay missing and do not count.
    """
    corrected = np.full(len(p), np.nan)
    order = [index for index in np.argsort(p, kind="stable") if math.isfinite(p[index])]
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * float(p[index])))
        corrected[index] = largest
    return corrected


def _effect(values: Series, metric: Series) -> list[dict[str, Any]]:
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    labels = values.map(lambda value: value if isinstance(value, str) else json.dumps(value))
    if labels.nunique() <= _FEW or not numeric:
        return _by_value(labels, metric)
    if len(values) < _LEAST or metric.nunique() < 2:
        return []
    rho, p = stats.spearmanr(values, metric)
    reach = stats.norm.ppf(0.5 + _CONFIDENCE / 2) / math.sqrt(max(len(values) - 3, 1))
    middle = math.atanh(min(max(float(rho), -0.999999), 0.999999))
    return [
        {
            "kind": "correlation",
            "value": "",
            "n": len(values),
            "estimate": float(rho),
            "low": math.tanh(middle - reach),
            "high": math.tanh(middle + reach),
            "p": float(p),
        }
    ]


def _by_value(labels: Series, metric: Series) -> list[dict[str, Any]]:
    groups = {str(label): group.to_numpy() for label, group in metric.groupby(labels)}
    large = [group for group in groups.values() if len(group) > 1]
    p = math.nan
    if len(large) > 1 and metric.nunique() > 1:
        p = float(stats.kruskal(*large).pvalue)
    entries = []
    for label, group in groups.items():
        low, high = _interval(group)
        entries.append(
            {
                "kind": "mean",
                "value": label,
                "n": len(group),
                "estimate": float(group.mean()),
                "low": low,
                "high": high,
                "p": p,
            }
        )
    return entries


def _paired(
    group: Frame, name: str, levels: list[Any], rest: list[str], metric: str
) -> dict[str, Any] | None:
    keys = group[rest].map(json.dumps).agg("|".join, axis=1)
    numbers = group[metric].map(finite)
    wide = pd.DataFrame({"key": keys, "level": group[name].map(str), "y": numbers}).dropna()
    wide = wide.pivot_table(index="key", columns="level", values="y", aggfunc="mean").dropna()
    if len(wide) < 2 or wide.shape[1] != 2:
        return None
    difference = (wide[str(levels[1])] - wide[str(levels[0])]).to_numpy()
    spread = float(difference.std(ddof=1))
    low, high = _interval(difference)
    differs = bool(np.any(difference != 0)) and spread > 0
    return {
        "first": str(levels[0]),
        "second": str(levels[1]),
        "n": len(wide),
        "difference": float(difference.mean()),
        "low": low,
        "high": high,
        "d_z": float(difference.mean()) / spread if spread > 0 else math.nan,
        "p_t": float(stats.ttest_1samp(difference, 0.0).pvalue) if differs else math.nan,
        "p_wilcoxon": float(stats.wilcoxon(difference).pvalue) if differs else math.nan,
    }


def _interval(values: np.ndarray) -> tuple[float, float]:
    if len(values) < 2:
        return math.nan, math.nan
    reach = float(stats.t.ppf(0.5 + _CONFIDENCE / 2, len(values) - 1)) * float(stats.sem(values))
    return float(values.mean()) - reach, float(values.mean()) + reach
