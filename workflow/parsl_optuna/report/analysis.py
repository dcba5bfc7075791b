"""The numbers of an analysis: tables and a few sentences about a table of trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from parsl_optuna.core.errors import SpecError
from parsl_optuna.report import effects
from parsl_optuna.report.columns import leading_column
from parsl_optuna.report.configurations import PREFIX, Frame, Series, flatten, label, means, strata, varied
from parsl_optuna.report.importance import importances
from parsl_optuna.report.tables import maximised_of, objectives_of, read
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.progress import reports

_MOST_CURVES = 40
"""Largest number of curves per study; more cannot be distinguished in a picture."""

_SHOWN = 5
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Analysis:
    """What `analyse` finds.

    Attributes:
        findings: Sentences, the most important one first.
        tables: Name -> table.
        curves: Metric -> ``problem, method`` -> trial id -> reported values over steps.
        rows: All trials, flat.
        trials: The rows of the table as they are, as plain data.
        objectives: Names of the objectives, the leading one first.
        maximised: Those of which more is better.
    """

    findings: tuple[str, ...]
    tables: Mapping[str, Frame]
    curves: Mapping[str, Mapping[str, Mapping[str, Series]]]
    rows: Frame
    trials: Sequence[Mapping[str, Any]]
    objectives: Sequence[str]
    maximised: Sequence[str]


def analyse(table: Path, store: ArtifactStore, *, sampler_learns: bool = True) -> Analysis:
    """Answer the usual questions of a table of trials.

    Args:
        table: A parquet that a run wrote.
        store: The artifacts it came from; curves are left out where they are not there.
        sampler_learns: Whether what the search asked for depends on earlier values; see `effects`.

    Raises:
        SpecError: There is no trial to analyse.
    """
    arrow = read(table)
    rows = flatten(arrow.to_pandas())
    if rows.empty or not rows["objective"].notna().any():
        raise SpecError(f"{table}: no trial has an objective; nothing to analyse")
    names = objectives_of(arrow)
    rows["objective"] = rows[leading_column(names, rows.columns)]
    metrics = ["objective", *(name for name in names[1:] if name in rows.columns)]
    more_is_better = names[0] in maximised_of(arrow)
    curves = _curves(_sorted(rows, "objective", more_is_better), metrics[1:], store)
    tables = {
        "outcomes": effects.outcomes(rows),
        "failures": _failures(rows),
        "best": _best(rows, more_is_better),
        "importances": importances(rows, metrics),
        "effects": effects.effects(rows, metrics, sampler_learns=sampler_learns),
        "pairs": effects.pairs(rows, metrics, sampler_learns=sampler_learns),
    }
    findings = tuple(_findings(rows, tables))
    return Analysis(findings, tables, curves, rows, arrow.to_pylist(), names, maximised_of(arrow))


def strongest_pair(analysis: Analysis) -> tuple[Frame, str, str] | None:
    """Return a stratum and its two most important hyperparameters that trials have together; None without."""
    ranked = analysis.tables["importances"]
    if ranked.empty:
        return None
    for head, group in strata(analysis.rows):
        mine = ranked[(ranked["metric"] == "objective") & (ranked["parameter"] != "")]
        mine = mine[(mine["problem"] == head["problem"]) & (mine["method"] == head["method"])]
        names = [f"{PREFIX}{name}" for name in mine["parameter"]]
        for index, first in enumerate(names):
            for second in names[index + 1 :]:
                together = group[group[first].notna() & group[second].notna()]
                if {first, second} <= set(varied(together)):
                    return together, first, second
    return None


def cell(value: object) -> str:
    """Return a number to four digits, anything else as text; nothing for a missing value."""
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return str(value)


def _value(value: object) -> str:
    return cell(value) if isinstance(value, float) else label(value)


def _findings(rows: Frame, tables: Mapping[str, Frame]) -> list[str]:
    counts = Counter(rows["state"])
    missed = int(rows["feasible"].eq(False).sum()) if "feasible" in rows else 0
    others = [f"{count} {state}" for state, count in counts.most_common() if state != "ok"]
    sentences = [f"{len(rows)} trials: {counts['ok']} ok" + "".join(f", {one}" for one in others) + "."]
    if missed:
        sentences.append(f"{missed} trials miss a constraint; they are best only where no other trial is.")
    best = tables["best"]
    for head, _ in strata(rows):
        mine = best[(best["problem"] == head["problem"]) & (best["method"] == head["method"])]
        place = f"{head['method']} on {head['problem']}"
        if not mine.empty:
            first = mine.iloc[0]
            seeds = f", the mean of {first['n']} seeds" if first["n"] > 1 else ", from a single seed"
            point = f" at {first['hyperparameters']}" if first["hyperparameters"] else ""
            sentences.append(f"{place}: best objective {cell(first['objective'])}{seeds}{point}.")
        sentences.append(f"{place}: {_what_matters(tables['importances'], tables['effects'], head)}")
    return sentences


def _what_matters(ranked: Frame, found: Frame, head: Mapping[str, str]) -> str:
    def mine(table: Frame) -> Frame:
        if table.empty:
            return table
        same = (table["problem"] == head["problem"]) & (table["method"] == head["method"])
        return table[same & (table["metric"] == "objective")]

    importance, effect = mine(ranked), mine(found)
    parts = []
    if importance.empty:
        parts.append("no hyperparameter varies")
    elif importance.iloc[0]["parameter"]:
        first = importance.iloc[0]
        parts.append(
            f"{first['parameter']} matters most (importance {cell(first['importance'])}; "
            f"a forest explains {first['r2']:.0%} of unseen configurations)"
        )
    else:
        parts.append(f"no ranking of hyperparameters: {importance.iloc[0]['note']}")
    if not effect.empty:
        if (effect["note"] != "").any():
            parts.append(f"effects are not tested ({effect[effect['note'] != '']['note'].iloc[0]})")
        else:
            clear = effect[effect["p_holm"] < _SIGNIFICANT]["parameter"].unique()
            parts.append(f"clear effects (corrected p < {_SIGNIFICANT}): {', '.join(clear) or 'none'}")
    return "; ".join(parts) + "."


def _failures(rows: Frame) -> Frame:
    """Count the reasons of trials that did not end ok, the most frequent ones first."""
    bad = rows[rows["state"] != "ok"]
    if bad.empty:
        return pd.DataFrame()
    counts = bad.fillna({"reason": ""}).groupby(["method", "state", "reason"]).size()
    return counts.rename("trials").reset_index().sort_values("trials", ascending=False, kind="stable")


def _sorted(rows: Frame, column: str, more_is_better: bool) -> Frame:
    """Return rows with the best ones first."""
    return rows.sort_values(column, ascending=not more_is_better, kind="stable")


def _best(rows: Frame, more_is_better: bool) -> Frame:
    """Return the best configurations of every study, by the mean over their seeds, with what varies.

    Infeasible trials are left out where a study has feasible ones.
    """
    found = []
    for head, every in strata(rows):
        is_feasible = every.get("feasible", pd.Series(True, index=every.index)).map(
            lambda one: one is not False
        )
        group = every[is_feasible] if is_feasible.any() else every
        units = means(group, "objective")
        names = varied(units)
        for configuration, unit in _sorted(units, "y", more_is_better).head(_SHOWN).iterrows():
            known = [name for name in names if not pd.isna(unit[name])]
            point = "  ".join(f"{name.removeprefix(PREFIX)}={_value(unit[name])}" for name in known)
            trial = group[group["configuration"] == configuration]["trial_id"].iloc[0]
            entry = {"trial": trial, "objective": float(unit["y"]), "n": int(unit["n"])}
            found.append(head | entry | {"hyperparameters": point})
    return pd.DataFrame(found)


def _curves(
    rows: Frame, others: Sequence[str], store: ArtifactStore
) -> dict[str, dict[str, dict[str, Series]]]:
    """Read what the best trials reported, rows in that order: their first metric, and further objectives."""
    found: dict[str, dict[str, dict[str, Series]]] = {}
    for (problem, method), group in rows.groupby(["problem", "method"]):
        for _, row in group.head(_MOST_CURVES).iterrows():
            reported = reports(store.paths.progress(row["pid"], row["method"], row["trial_id"]))
            first = [next(iter(reported[0].metrics))] if reported and reported[0].metrics else []
            for metric in dict.fromkeys([*first, *others]):
                values = {report.step: report.metrics.get(metric) for report in reported}
                known = {step: value for step, value in values.items() if isinstance(value, (int, float))}
                if len(known) > 1:
                    study = found.setdefault(metric, {}).setdefault(f"{problem}, {method}", {})
                    study[row["trial_id"]] = pd.Series(known, dtype=float)
    return found
