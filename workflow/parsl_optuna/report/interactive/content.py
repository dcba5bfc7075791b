"""What the report shows, as plain data: trials, studies, events. The page itself computes no statistics."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from parsl_optuna.core.records import Comparison, State
from parsl_optuna.report.columns import AFTER_TASK, BEFORE_TASK, STRUCTS, leading_column
from parsl_optuna.report.configurations import active
from parsl_optuna.store.atomic import strict
from parsl_optuna.store.events import text_of
from parsl_optuna.store.layout import Artifacts
from parsl_optuna.store.output import end_of
from parsl_optuna.tasks.base import Task

_FIXED = {column.name for column in (*BEFORE_TASK, *AFTER_TASK)} | STRUCTS.keys()

_OUTPUT_BYTES = 1500
"""Of what a failed trial printed: some twenty lines, which end with the error."""

_MOST_EVENTS = 200
"""The last ones; `parsl-optuna log` shows them all."""

_MOST_PICTURES = 6
_PICTURE_BYTES = 300_000
"""Of one picture: a page with several still opens at once."""

Data = dict[str, Any]


@dataclass(frozen=True)
class Content:
    """Everything on the page.

    Attributes:
        title: Its heading.
        status: How far the run is, in one line.
        is_running: Whether a driver is at work, so that the page reloads itself.
        findings: Sentences, the most important one first.
        objectives: ``name`` and ``maximise``, the leading one first.
        trials: `trial_of` each.
        studies: Rows of the table of studies, by column.
        curves: Metric -> ``problem, method`` -> trial id -> pairs of step and value.
        comparison: Which metrics are compared with a reference; None without one.
        events: Texts with their times, the last one first.
        importances: Rows ``problem, method, parameter, importance``.
        sections: Titles and HTML of an analysis.
        pictures: Titles and data URIs.
    """

    title: str
    status: str
    is_running: bool
    findings: Sequence[str]
    objectives: Sequence[Mapping[str, Any]]
    trials: Sequence[Data]
    studies: Sequence[Mapping[str, Any]] = ()
    curves: Mapping[str, Any] = field(default_factory=dict)
    comparison: Comparison | None = None
    events: Sequence[Mapping[str, str]] = ()
    importances: Sequence[Mapping[str, Any]] = ()
    sections: Sequence[tuple[str, str]] = ()
    pictures: Sequence[tuple[str, str]] = ()


def trial_of(
    row: Mapping[str, Any], task: Task | None, objectives: Sequence[str], store: Artifacts, page: Path
) -> Data:
    """Return what the page knows of a trial.

    Args:
        row: The trial's row of the table.
        task: Its task, which knows the hyperparameters without effect; None where it is not there to ask.
        objectives: The names of the objectives.
        store: Where its files are.
        page: Folder of the page, from which files are linked.
    """
    place = (row["pid"], row["method"], row["trial_id"])
    declared = {name: value for name, value in row.items() if name not in _FIXED}
    metrics = declared | {name: (row.get(name) or {}) for name in ("metrics", "diagnostics")}
    first = row[leading_column(objectives, row)]
    values = [first, *(row.get(name) for name in objectives[1:])]
    data = {
        "id": row["trial_id"],
        "pid": row["pid"],
        "problem": row["problem"],
        "method": row["method"],
        "number": row["trial_number"],
        "state": row["state"],
        "reason": row["reason"],
        "feasible": row.get("feasible") is not False,
        "by": row["asked_by"],
        "values": values,
        "params": active(task, row["method"], row["hyperparams_json"]),
        "metrics": _flat(metrics),
        "began": _milliseconds(row["started"]),
        "ended": _milliseconds(row["ended"]),
        "seconds": row["runtime_sec"],
        "host": row["host"],
        "folder": os.path.relpath(store.manifest(*place).parent, page),
    }
    if row["state"] not in (State.OK.value, State.PRUNED.value):
        data["output"] = _output(store, place)
    return strict(data)


def events_of(events: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the last events as texts, the last one first."""
    last = list(events)[-_MOST_EVENTS:]
    return [{"at": str(event["at"]), "text": text_of(event)} for event in reversed(last)]


def pictures_of(store: Artifacts, trials: Iterable[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, str]]:
    """Return the PNG files that trials left, as data URIs.

    Args:
        store: Where the files are.
        trials: What to call a trial, and its ``pid``, ``method`` and ``trial_id``.
    """
    found = []
    for name, trial in trials:
        folder = store.files(trial["pid"], trial["method"], trial["trial_id"])
        for path in sorted(folder.rglob("*.png")):
            if path.stat().st_size <= _PICTURE_BYTES and len(found) < _MOST_PICTURES:
                data = base64.b64encode(path.read_bytes()).decode()
                found.append((f"{name}: {path.relative_to(folder)}", f"data:image/png;base64,{data}"))
    return found


def _flat(metrics: Mapping[str, Any]) -> Data:
    """Return numbers and texts by name, those of structs after the others; a name counts once."""
    flat: Data = {}
    for name, value in metrics.items():
        for one, inner in value.items() if isinstance(value, Mapping) else ((name, value),):
            if inner is not None and not isinstance(inner, (Mapping, list)):
                flat.setdefault(one, inner)
    return flat


def _milliseconds(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1000)


def _output(store: Artifacts, place: tuple[str, str, str]) -> str:
    """Return the end of what a trial printed, its errors first of all."""
    for stream in ("stderr", "stdout"):
        content = end_of(store.output(*place, stream), _OUTPUT_BYTES)
        if content.strip():
            return content.decode(errors="replace")
    return ""
