"""The numbers of an analysis: tables and a few sentences about a table of trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.objective import finite, in_row
from parsl_optuna.report import effects
from parsl_optuna.report.bias import biases
from parsl_optuna.report.columns import leading_column
from parsl_optuna.report.configurations import (
    METRIC,
    PREFIX,
    STRATA,
    Frame,
    Series,
    column_of,
    competing,
    flatten,
    means,
    strata,
    task_of,
    varied,
    within,
)
from parsl_optuna.report.findings import findings, value_text
from parsl_optuna.report.importance import importances
from parsl_optuna.report.interactions import interactions
from parsl_optuna.report.levels import levels
from parsl_optuna.report.risks import risks
from parsl_optuna.report.tables import leading_of, maximised_of, objectives_of, read
from parsl_optuna.report.transfer import transfer
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.progress import reports

MOST_CURVES = 40
"""Largest number of curves per study; more cannot be distinguished in a picture."""

_MOST_REPORTED = 8
"""Metrics of which curves are shown: those that come first in the reports."""

_MOST_POINTS = 120
"""Of a curve; the page holds some hundred of them."""

_SHOWN = 5


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
        leading: What people call that one.
        maximised: Those of which more is better.
    """

    findings: tuple[str, ...]
    tables: Mapping[str, Frame]
    curves: Mapping[str, Mapping[str, Mapping[str, Series]]]
    rows: Frame
    trials: Sequence[Mapping[str, Any]]
    objectives: Sequence[str]
    leading: str
    maximised: Sequence[str]


def analyse(
    table: Path,
    store: ArtifactStore,
    *,
    sampler_learns: bool = True,
    fidelity: str | None = None,
    chosen: Sequence[Mapping[str, Any]] = (),
) -> Analysis:
    """Answer the usual questions of a table of trials.

    Args:
        table: A parquet that a run wrote.
        store: The artifacts it came from; curves are left out where they are not there.
        sampler_learns: Whether what the search asked for depends on earlier values; see `effects`.
        fidelity: The hyperparameter that says how long a trial is, if trials began short: only the longest
            ones of a study are compared.
        chosen: What the run recommends, from `best.best_points`.

    Raises:
        SpecError: There is no trial to analyse.
    """
    arrow = read(table)
    rows = flatten(arrow.to_pandas())
    if rows.empty:
        raise SpecError(f"{table}: no trial in it; nothing to analyse")
    trials = arrow.to_pylist()
    names = objectives_of(arrow)
    rows["objective"] = rows[leading_column(names, rows.columns)]
    task = task_of(rows)
    if task is not None and task.verdict is not None and column_of(task.verdict) in rows:
        rows["verdict"] = rows[column_of(task.verdict)]
    metrics = ["objective"]
    for name in names[1:]:
        is_taken = name in rows and any(name in (row.get("metrics") or ()) for row in trials)
        metrics.append(f"{name}{METRIC}" if is_taken else column_of(name))
        rows[metrics[-1]] = [finite(in_row(row, name)) for row in trials]
    more_is_better = names[0] in maximised_of(arrow)
    whole, rows = rows, _longest(rows, fidelity)
    curves = _curves(_sorted(rows, "objective", more_is_better), store)
    tables = {
        "outcomes": effects.outcomes(whole),
        "failures": _failures(whole),
        "risks": risks(whole, sampler_learns=sampler_learns),
        "best": _best(rows, more_is_better),
        "importances": importances(rows, metrics),
        "effects": effects.effects(rows, metrics, sampler_learns=sampler_learns),
        "pairs": effects.pairs(rows, metrics, sampler_learns=sampler_learns),
        "levels": levels(rows, "objective"),
        "interactions": interactions(rows, "objective", sampler_learns=sampler_learns),
        "transfer": transfer(rows, "objective", more_is_better=more_is_better),
    }
    if task is not None and task.comparison is not None:
        tables["bias"] = biases(rows, task.comparison)
    leading = leading_of(arrow)
    found = tuple(findings(whole, tables, [leading, *names[1:]], chosen))
    if len(rows) < len(whole):
        found += (f"Trials of fewer {fidelity}, whose values are not compared: {len(whole) - len(rows)}.",)
    return Analysis(found, tables, curves, rows, trials, names, leading, maximised_of(arrow))


def strongest_pair(analysis: Analysis) -> tuple[Frame, str, str] | None:
    """Return a stratum and its two most important hyperparameters that trials have together; None without."""
    ranked = analysis.tables["importances"]
    if ranked.empty:
        return None
    for head, group in strata(analysis.rows):
        mine = ranked[(ranked["metric"] == "objective") & (ranked["parameter"] != "")]
        names = [f"{PREFIX}{name}" for name in within(mine, head)["parameter"]]
        for index, first in enumerate(names):
            for second in names[index + 1 :]:
                together = group[group[first].notna() & group[second].notna()]
                if {first, second} <= set(varied(together)):
                    return together, first, second
    return None


def _longest(rows: Frame, fidelity: str | None) -> Frame:
    """Return the longest trials of every study; all without a fidelity."""
    column = f"{PREFIX}{fidelity}"
    if fidelity is None or column not in rows:
        return rows
    ended = rows[column].where(rows["state"] == "ok")
    return rows[rows[column] == ended.groupby([rows[name] for name in STRATA]).transform("max")]


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

    Those of fewer seeds do not compete; one follows if it would win. Infeasible trials are left out where a
    study has feasible ones.
    """
    found = []
    for head, every in strata(rows):
        is_feasible = every.get("feasible", pd.Series(True, index=every.index)).map(
            lambda one: one is not False
        )
        group = every[is_feasible] if is_feasible.any() else every
        units = means(group, "objective")
        mine = within(rows, head)
        names = varied(mine)  # what all good trials agree in is a part of the point, too
        failed = mine[mine["state"] != "ok"].groupby("configuration").size()
        ordered = _sorted(units, "y", more_is_better)
        first = competing(ordered).head(_SHOWN)
        luckier = ordered.head(1).drop(first.index, errors="ignore")
        shown: Frame = pd.concat([first, luckier])
        for configuration, unit in shown.iterrows():
            known = [name for name in names if not pd.isna(unit[name])]
            point = "  ".join(f"{name.removeprefix(PREFIX)}={value_text(unit[name])}" for name in known)
            trial = group[group["configuration"] == configuration].iloc[0]
            entry = {"trial": trial["trial_id"], "objective": float(unit["y"]), "n": int(unit["n"])}
            entry["not_ok"] = int(failed.get(configuration, 0))
            entry["verdict"] = said if isinstance(said := trial.get("verdict"), str) else ""
            found.append(head | entry | {"hyperparameters": point})
    return pd.DataFrame(found)


def _curves(rows: Frame, store: ArtifactStore) -> dict[str, dict[str, dict[str, Series]]]:
    """Read what trials reported, of the best and of evenly spaced others, by metric, study and trial.

    Args:
        rows: Trials, the best ones first.
        store: Where their reports are.
    """
    found: dict[str, dict[str, dict[str, Series]]] = {}
    for (problem, method), group in rows.groupby(["problem", "method"]):
        for _, row in group.iloc[spread(len(group), MOST_CURVES)].iterrows():
            reported = reports(store.paths.progress(row["pid"], row["method"], row["trial_id"]))
            numbers = [
                name
                for name in dict.fromkeys(name for report in reported for name in report.metrics)
                if any(finite(report.metrics.get(name)) is not None for report in reported)
            ]
            for metric in numbers[:_MOST_REPORTED]:
                known = {one.step: finite(one.metrics.get(metric)) for one in reported}
                points = [(step, value) for step, value in known.items() if value is not None]
                if len(points) > 1:
                    shown = [points[index] for index in spread(len(points), _MOST_POINTS)]
                    study = found.setdefault(metric, {}).setdefault(f"{problem}, {method}", {})
                    study[row["trial_id"]] = pd.Series(dict(shown), dtype=float)
    return found


def spread(length: int, most: int) -> list[int]:
    """Return up to *most* evenly spaced indices, the first and the last one among them."""
    if length <= most:
        return list(range(length))
    return [round(index * (length - 1) / (most - 1)) for index in range(most)]
