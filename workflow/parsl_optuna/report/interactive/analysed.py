"""Writes the page of an analysis, with everything on it."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from parsl_optuna.report import files
from parsl_optuna.report.analysis import MOST_CURVES, Analysis, spread
from parsl_optuna.report.configurations import STRATA, Frame, Series, task_of
from parsl_optuna.report.findings import cell
from parsl_optuna.report.interactive import page
from parsl_optuna.report.interactive.content import Content, events_of, trial_of, views_of
from parsl_optuna.report.interactive.left import lines_of, pictures_of
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.atomic import strict
from parsl_optuna.store.events import EventReader
from parsl_optuna.store.layout import Results

_MOST_OPEN = 12
"""Rows of a table that is open at first."""


def write(analysis: Analysis, results: Results, store: ArtifactStore) -> Path:
    """Write the files of an analysis and the page; return the page's path."""
    files.write(analysis, results.root / "analysis")
    page.write(_content(analysis, results, store), results.report)
    return results.report


def _content(analysis: Analysis, results: Results, store: ArtifactStore) -> Content:
    rows, names, task, tables = analysis.rows, analysis.objectives, task_of(analysis.rows), analysis.tables
    best = tables["best"]
    first = [] if best.empty else list(best.groupby(STRATA)["trial"].first())
    leading = rows[rows["trial_id"].isin(first)].to_dict("records")
    left = pictures_of(store.paths, ((f"{one['method']} on {one['problem']}", one) for one in leading))
    ended = Counter(rows["state"])
    return Content(
        title=", ".join(dict.fromkeys([*rows["task"], *rows["problem"]])),
        status=", ".join(f"{count} {state}" for state, count in ended.most_common()),
        is_running=False,
        is_analysed=True,
        findings=analysis.findings,
        objectives=[
            {"name": analysis.leading if index == 0 else name, "maximise": name in analysis.maximised}
            for index, name in enumerate(names)
        ],
        trials=[trial_of(row, task, names, store.paths, results.root) for row in analysis.trials],
        curves={metric: _curves(by_study) for metric, by_study in analysis.curves.items()},
        comparison=None if task is None else task.comparison,
        events=events_of(EventReader(results.events).new()),
        importances=_of_leading(tables["importances"]),
        pairs=_of_leading(tables["pairs"]),
        transfer=_records(tables["transfer"]),
        biases=_records(tables.get("bias", pd.DataFrame())),
        views=views_of(task),
        lines=lines_of(store.paths, _shown(analysis)),
        missing=_missing(analysis, left),
        sections=[
            (files.TITLES[name], _html_table(table)) for name, table in tables.items() if not table.empty
        ],
        pictures=left,
    )


def _shown(analysis: Analysis) -> list[dict[str, Any]]:
    """Return the trials whose lines the page holds: some of every study, as of curves."""
    rows = analysis.rows
    found = []
    for _, group in rows[rows["state"] == "ok"].groupby(STRATA):
        found += group.iloc[spread(len(group), MOST_CURVES)].to_dict("records")
    return found


def _missing(analysis: Analysis, pictures: Sequence[object]) -> list[tuple[str, str]]:
    """Return what has nothing to show, and why."""
    empty = [name for name, table in analysis.tables.items() if table.empty]
    found = [(files.TITLES[name], files.why_empty(analysis, name)) for name in empty]
    if not analysis.curves:
        found.append(("What trials reported", "no trial reported values, or the artifacts are not here"))
    if not pictures:
        found.append(("Pictures of the best trials", "they left none"))
    return found


def _of_leading(table: Frame) -> list[dict[str, Any]]:
    return [] if table.empty else _records(table[table["metric"] == "objective"])


def _records(table: Frame) -> list[dict[str, Any]]:
    return strict(table.to_dict("records"))


def _curves(by_study: Mapping[str, Mapping[str, Series]]) -> dict[str, Any]:
    return {
        study: {trial: [[step, value] for step, value in one.items()] for trial, one in curves.items()}
        for study, curves in by_study.items()
    }


def _html_table(table: Frame) -> str:
    table = table[[name for name in table.columns if not table[name].map(cell).eq("").all()]]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell(value))}</td>" for value in row) + "</tr>"
        for row in table.itertuples(index=False)
    )
    state = " open" if len(table) <= _MOST_OPEN else ""
    rows = f"<div class='wide'><table><tr>{head}</tr>{body}</table></div>"
    return f"<details{state}><summary>{len(table)} rows</summary>{rows}</details>"
