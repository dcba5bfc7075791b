"""Writes an analysis: tables and pictures as files, and the report with everything on one page."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parsl_optuna.report import plots
from parsl_optuna.report.analysis import Analysis, cell, strongest_pair
from parsl_optuna.report.configurations import STRATA, Frame, Series, strata, task_of, varied
from parsl_optuna.report.interactive import page
from parsl_optuna.report.interactive.content import Content, events_of, pictures_of, trial_of
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.atomic import strict, write_bytes
from parsl_optuna.store.events import EventReader
from parsl_optuna.store.layout import Results

_MOST_PANELS = 12
"""Panels of a picture that can still be read."""

_TITLES = {
    "outcomes": "Outcomes",
    "failures": "Why trials did not end ok",
    "best": "Best configurations (means over their seeds)",
    "importances": "Importance of hyperparameters (permutation in a random forest)",
    "effects": "Effect of each hyperparameter (means with 95 % intervals, or rank correlations)",
    "pairs": "Two values of one hyperparameter, all else equal (second minus first; the unit is the seed)",
}


def write(analysis: Analysis, results: Results, store: ArtifactStore) -> Path:
    """Write tables as CSV, a summary in Markdown, pictures, and the report; return the report's path."""
    folder, pictures = results.root / "analysis", _pictures(analysis)
    for name, table in analysis.tables.items():
        write_bytes(folder / f"{name}.csv", table.to_csv(index=False).encode())
    write_bytes(folder / "summary.md", _markdown(analysis).encode())
    for name, content in pictures.items():
        write_bytes(folder / f"{name}.png", content)
    page.write(_content(analysis, pictures, results, store), results.report)
    return results.report


def _content(
    analysis: Analysis, pictures: Mapping[str, bytes], results: Results, store: ArtifactStore
) -> Content:
    rows, names, task = analysis.rows, analysis.objectives, task_of(analysis.rows)
    best = analysis.tables["best"]
    first = [] if best.empty else list(best.groupby(STRATA)["trial"].first())
    leading = rows[rows["trial_id"].isin(first)].to_dict("records")
    ended = Counter(rows["state"])
    return Content(
        title=", ".join(dict.fromkeys([*rows["task"], *rows["problem"]])),
        status=", ".join(f"{count} {state}" for state, count in ended.most_common()),
        is_running=False,
        findings=analysis.findings,
        objectives=[{"name": name, "maximise": name in analysis.maximised} for name in names],
        trials=[trial_of(row, task, names, store.paths, results.root) for row in analysis.trials],
        curves={metric: _curves(by_study) for metric, by_study in analysis.curves.items()},
        comparison=None if task is None else task.comparison,
        events=events_of(EventReader(results.events).new()),
        importances=_importances(analysis.tables["importances"]),
        sections=[
            *((_TITLES[name], _html_table(table)) for name, table in analysis.tables.items()),
            *((name.replace("_", " "), _img(name, data)) for name, data in pictures.items()),
        ],
        pictures=pictures_of(store.paths, ((f"{one['method']} on {one['problem']}", one) for one in leading)),
    )


def _curves(by_study: Mapping[str, Mapping[str, Series]]) -> dict[str, Any]:
    return {
        study: {trial: [[step, value] for step, value in one.items()] for trial, one in curves.items()}
        for study, curves in by_study.items()
    }


def _importances(table: Frame) -> list[dict[str, Any]]:
    if table.empty:
        return []
    names = ["problem", "method", "parameter", "importance"]
    return strict(table[table["metric"] == "objective"][names].to_dict("records"))


def _img(name: str, content: bytes) -> str:
    title, data = html.escape(name.replace("_", " ")), base64.b64encode(content).decode()
    return f"<img alt='{title}' src='data:image/png;base64,{data}'>"


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
        parts += [f"## {_TITLES[name]}", "", _markdown_table(table), ""]
    return "\n".join(parts)


def _markdown_table(table: Frame) -> str:
    if table.empty:
        return "Nothing to show."
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += [
        "| " + " | ".join(cell(value).replace("|", r"\|") for value in row) + " |"
        for row in table.itertuples(index=False)
    ]
    return "\n".join(lines)


def _html_table(table: Frame) -> str:
    if table.empty:
        return "<p>Nothing to show.</p>"
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell(value))}</td>" for value in row) + "</tr>"
        for row in table.itertuples(index=False)
    )
    return f"<div class='wide'><table><tr>{head}</tr>{body}</table></div>"
