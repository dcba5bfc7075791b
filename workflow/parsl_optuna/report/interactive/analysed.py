"""Writes an analysis: tables and pictures as files, and the report with everything on one page."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from parsl_optuna.report import plots
from parsl_optuna.report.analysis import MOST_CURVES, Analysis, spread, strongest_pair
from parsl_optuna.report.configurations import STRATA, Frame, Series, strata, task_of, varied
from parsl_optuna.report.findings import cell
from parsl_optuna.report.interactive import page
from parsl_optuna.report.interactive.content import Content, events_of, trial_of, views_of
from parsl_optuna.report.interactive.left import lines_of, pictures_of
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.atomic import strict, write_bytes
from parsl_optuna.store.events import EventReader
from parsl_optuna.store.layout import Results

_MOST_PANELS = 12
"""Panels of a picture that can still be read."""

_MOST_OPEN = 12
"""Rows of a table that is open at first."""

_TITLES = {
    "outcomes": "Outcomes",
    "failures": "Why trials did not end ok",
    "risks": "Share of trials that did not end ok, by hyperparameter (means, or rank correlations)",
    "best": "Best configurations (means over their seeds)",
    "bias": "Differences from the reference (95 % intervals; covered: share within 1.96 stated errors)",
    "importances": "Importance of hyperparameters (permutation in a random forest)",
    "effects": "Effect of each hyperparameter (means with 95 % intervals, or rank correlations)",
    "interactions": "Does the effect of one hyperparameter depend on another? (F-test in a linear model)",
    "levels": "Each value: median and quartiles over configurations, spread over seeds",
    "pairs": "Two values of one hyperparameter, all else equal (second minus first; the unit is the seed)",
    "transfer": "What is best on one problem, on another (configurations that both have)",
}

_WHY_EMPTY = {
    "failures": "every trial ended ok",
    "risks": "no study has trials that ended ok and others that did not, or no hyperparameter varies in one",
    "best": "no trial that ended ok has an objective",
    "bias": "no trial that ended ok has a reference",
    "importances": "no hyperparameter varies within a problem and method",
    "effects": "no hyperparameter varies within a problem and method",
    "interactions": "no two hyperparameters vary together, or configurations are too few for a model of both",
    "levels": "no hyperparameter with at most eight values varies",
    "pairs": "no two trials differ in one hyperparameter alone",
    "transfer": "no method has two configurations on several problems",
}


def write(analysis: Analysis, results: Results, store: ArtifactStore) -> Path:
    """Write tables as CSV, a summary in Markdown, pictures, and the report; return the report's path."""
    folder, pictures = results.root / "analysis", _pictures(analysis)
    for name, table in analysis.tables.items():
        write_bytes(folder / f"{name}.csv", table.to_csv(index=False).encode())
    write_bytes(folder / "summary.md", _markdown(analysis).encode())
    for name, content in pictures.items():
        write_bytes(folder / f"{name}.png", content)
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
        sections=[(_TITLES[name], _html_table(table)) for name, table in tables.items() if not table.empty],
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
    found = [(_TITLES[name], _WHY_EMPTY[name]) for name, table in analysis.tables.items() if table.empty]
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


def _pictures(analysis: Analysis) -> dict[str, bytes]:
    pictures = {}
    names = list(dict.fromkeys(name for _, group in strata(analysis.rows) for name in varied(group)))
    for start in range(0, len(names), _MOST_PANELS):
        number = f"_{start // _MOST_PANELS + 1}" if len(names) > _MOST_PANELS else ""
        shown = names[start : start + _MOST_PANELS]
        pictures[f"objective_by_hyperparameter{number}"] = plots.effect_pictures(analysis.rows, shown)
    pair = strongest_pair(analysis)
    if pair is not None:
        pictures["interaction"] = plots.interaction(*pair)
    for metric, by_study in analysis.curves.items():
        pictures[f"curves_of_{metric.replace('/', '_')}"] = plots.curves(by_study, metric)
    return pictures


def _markdown(analysis: Analysis) -> str:
    parts = ["# Analysis", "", *(f"- {one}" for one in analysis.findings), ""]
    for name, table in analysis.tables.items():
        shown = f"Left out: {_WHY_EMPTY[name]}." if table.empty else _markdown_table(table)
        parts += [f"## {_TITLES[name]}", "", shown, ""]
    return "\n".join(parts)


def _markdown_table(table: Frame) -> str:
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += [
        "| " + " | ".join(cell(value).replace("|", r"\|") for value in row) + " |"
        for row in table.itertuples(index=False)
    ]
    return "\n".join(lines)


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
