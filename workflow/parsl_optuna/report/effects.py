"""What a table of trials says about its hyperparameters: outcomes, effects, pairs. Pure; numbers by scipy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as _stats

from parsl_optuna.core.objective import finite
from parsl_optuna.report.adjusted import adjusted
from parsl_optuna.report.configurations import (
    FEW_VALUES,
    PREFIX,
    STRATA,
    Frame,
    Series,
    is_numeric,
    label,
    means,
    n_values,
    strata,
    varied,
)
from parsl_optuna.report.entangled import Design
from parsl_optuna.report.linear import is_scale

stats: Any = _stats  # scipy's tests return named tuples that its annotations do not have

_CONFIDENCE = 0.95

LEAST_FOR_RANKS = 5
"""Fisher's interval of a rank correlation divides by the square root of n - 3; below 5 it covers nearly
all."""

_ROUNDING = 1e-12
"""Share of the largest difference below which a spread of differences is that of rounding."""

ADAPTIVE = "proposed by a sampler that learns"
"""Its later trials depend on earlier values, so that they are not the independent draws that tests assume."""


def outcomes(rows: Frame) -> Frame:
    """Count trials by problem, method and state; by the task's own ``verdict`` where there is one."""
    how = rows["state"].where(rows["state"] != "ok", rows.get("verdict", rows["state"]).fillna("ok"))
    counts = rows.assign(how=how).groupby(["problem", "method", "how"]).size()
    return counts.rename("trials").reset_index()


def is_adaptive(rows: Frame, sampler_learns: bool) -> bool:
    """Whether some of the trials were proposed, or chosen to run on, by what others came to."""
    by = ["promote", "search"] if sampler_learns else ["promote"]
    return "asked_by" in rows.columns and bool(rows["asked_by"].isin(by).any())


def effects(rows: Frame, metrics: Sequence[str], *, sampler_learns: bool = True) -> Frame:
    """Return the effect of every hyperparameter on every metric, by problem and method.

    The unit is the configuration: the mean over its seeds. Only configurations in which the
    hyperparameter has an effect count. A hyperparameter with few values has a row per value: mean and 95 %
    interval (Student's t). Any other has one row with the rank correlation of Spearman and its 95 % interval
    (Fisher's z). The p-value is that of `adjusted.adjusted`: of what the hyperparameter explains beyond the
    others; ``shape`` says which way. If those that vary with it (``varies_with``) determine it, a ``note``
    says so, and the p-value is that of all of them together. ``p_holm`` is corrected for all tests of the
    table (Holm).

    Args:
        rows: Trials, from `configurations.flatten`.
        metrics: Columns to explain.
        sampler_learns: Whether trials that the search asked for depend on earlier ones; then there is no
            test.
    """
    found: list[dict[str, Any]] = []
    for head, group in strata(rows):
        note = ADAPTIVE if is_adaptive(group, sampler_learns) else ""
        designs: dict[tuple[object, ...], Design] = {}
        for metric in metrics:
            units = means(group, metric)
            for name in varied(units):
                active = units[units[name].notna()]
                key = tuple(active.index)  # most metrics are known of the same configurations
                if key not in designs:
                    designs[key] = Design(active)
                more = {"metric": metric, "parameter": name.removeprefix(PREFIX)}
                found += [head | more | entry for entry in _own_effect(active, name, designs[key], note)]
    table: Frame = pd.DataFrame(found)
    if table.empty:
        return table
    return corrected(table, [*STRATA, "metric", "parameter"], "p")


def pairs(rows: Frame, metrics: Sequence[str], *, sampler_learns: bool = True) -> Frame:
    """Compare any two values of a hyperparameter with few values, everything else being equal.

    Trials are matched that agree in all other hyperparameters which have an effect on both sides, and in
    their seed. Those that one side alone has are averaged. The unit is the seed: its differences over all
    matches are averaged first. Per problem, method and metric: mean difference (second minus first) with
    its 95 % interval, effect size d_z = mean / sd, the p-values of the paired t-test and of Wilcoxon's
    signed ranks, and ``p_holm``, the first one corrected for all tests of the table.

    Args:
        rows: Trials, from `configurations.flatten`.
        metrics: Columns to compare.
        sampler_learns: As for `effects`.
    """
    found: list[dict[str, Any]] = []
    for head, group in strata(rows):
        note = ADAPTIVE if is_adaptive(group, sampler_learns) else ""
        names = varied(group)
        codes = {name: _coded(group[name]) for name in names}
        values = {metric: group[metric].map(finite).to_numpy(dtype=float) for metric in metrics}
        for name in names:
            if n_values(group[name]) > FEW_VALUES:
                continue
            labels = group[name].map(label, na_action="ignore")
            levels = sorted(labels.dropna().unique())
            for first, second in itertools.combinations(levels, 2):
                sides = [labels.eq(level).to_numpy() for level in (first, second)]
                rest = [
                    own
                    for one, own in codes.items()
                    if one != name and all((own[on] >= 0).any() for on in sides)
                ]
                keys = np.column_stack([pd.factorize(group["replicate"])[0], *rest])
                for metric in metrics:
                    entry = _paired(keys, sides, values[metric])
                    if entry is not None:
                        more = {"metric": metric, "parameter": name.removeprefix(PREFIX), "note": note}
                        found.append(head | more | {"first": first, "second": second} | entry)
    table: Frame = pd.DataFrame(found)
    if table.empty:
        return table
    table.loc[table["note"] != "", ["p_t", "p_wilcoxon"]] = math.nan
    return corrected(table, [*STRATA, "metric", "parameter", "first", "second"], "p_t")


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


def corrected(table: Frame, keys: list[str], column: str) -> Frame:
    """Add ``p_holm`` (`holm`), each test counted once however many rows it has."""
    tests = table.drop_duplicates(keys)
    corrected = tests[keys].assign(p_holm=holm(tests[column].to_numpy(dtype=float)))
    return table.merge(corrected, on=keys)


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a mean (Student's t); nothing is known from fewer than two values."""
    if len(values) < 2:
        return math.nan, math.nan
    reach = float(stats.t.ppf(0.5 + _CONFIDENCE / 2, len(values) - 1)) * float(stats.sem(values))
    return float(values.mean()) - reach, float(values.mean()) + reach


def _own_effect(active: Frame, name: str, design: Design, why_untested: str) -> list[dict[str, Any]]:
    """Return the effect of a hyperparameter on ``y``, among the configurations that have it."""
    together, values, y = design.entanglement(name), active[name], active["y"]
    entries = _effect(values, y)
    more = {"varies_with": together.names, "note": why_untested or together.note}
    if why_untested or not entries:
        return [entry | more | {"shape": "", "p": math.nan} for entry in entries]
    test = adjusted(design, name, values, y.to_numpy(dtype=float), together)
    return [entry | more | {"shape": test.shape, "p": test.p} for entry in entries]


def _effect(values: Series, metric: Series) -> list[dict[str, Any]]:
    if not is_scale(values):
        return _by_value(values.map(label), metric)
    if len(values) < LEAST_FOR_RANKS or metric.nunique() < 2:
        return []
    rho = stats.spearmanr(values, metric).statistic
    reach = stats.norm.ppf(0.5 + _CONFIDENCE / 2) / math.sqrt(len(values) - 3)
    middle = math.atanh(min(max(float(rho), -0.999999), 0.999999))
    return [
        {
            "kind": "correlation",
            "value": "",
            "n": len(values),
            "estimate": float(rho),
            "low": math.tanh(middle - reach),
            "high": math.tanh(middle + reach),
        }
    ]


def _by_value(labels: Series, metric: Series) -> list[dict[str, Any]]:
    groups = {str(one): group.to_numpy() for one, group in metric.groupby(labels)}
    entries = []
    for value, group in groups.items():
        low, high = interval(group)
        entries.append(
            {
                "kind": "mean",
                "value": value,
                "n": len(group),
                "estimate": float(group.mean()),
                "low": low,
                "high": high,
            }
        )
    return entries


def _coded(values: Series) -> np.ndarray:
    """Return a number for each different value ``(n,)``, -1 where it is missing."""
    return pd.factorize(values if is_numeric(values) else values.map(label, na_action="ignore"))[0]


def _paired(keys: np.ndarray, sides: Sequence[np.ndarray], y: np.ndarray) -> dict[str, Any] | None:
    """Return the mean difference between two groups of trials that are matched.

    Args:
        keys: In what they have to agree ``(n, k)``; the first column is the seed.
        sides: Which trials belong to the first group, and to the second ``(n,)``.
        y: The metric ``(n,)``.
    """
    known = (sides[0] | sides[1]) & np.isfinite(y)
    _, cells = np.unique(keys[known], axis=0, return_inverse=True)
    trials: Frame = pd.DataFrame(
        {"seed": keys[known, 0], "cell": cells.ravel(), "second": sides[1][known], "y": y[known]}
    )
    both = trials.groupby(["seed", "cell", "second"])["y"].mean().unstack().dropna()
    if both.empty or both.shape[1] < 2:
        return None
    by_seed = (both[True] - both[False]).groupby(level="seed").mean()
    return {"seeds": len(by_seed), "matches": len(both)} | _differences(by_seed.to_numpy(dtype=float))


def _differences(difference: np.ndarray) -> dict[str, float]:
    """Return the mean difference of seeds with interval, size and tests; of one seed, the mean alone."""
    low, high = interval(difference)
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    spread = spread if spread > _ROUNDING * float(np.abs(difference).max()) else 0.0
    mean = float(difference.mean())
    return {
        "difference": mean,
        "low": low,
        "high": high,
        "d_z": mean / spread if spread > 0 else math.nan,
        "p_t": float(stats.ttest_1samp(difference, 0.0).pvalue) if spread > 0 else math.nan,
        "p_wilcoxon": float(stats.wilcoxon(difference).pvalue) if spread > 0 else math.nan,
    }
