"""What the report shows, as plain data: trials, studies, events. The page itself computes no statistics."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from parsl_optuna.core.objective import finite, in_row
from parsl_optuna.core.records import Comparison, State
from parsl_optuna.core.seeds import is_seed
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
        is_analysed: Whether statistics and curves are there, which `analyze` adds.
        studies: Rows of the table of studies, by column.
        curves: Metric -> ``problem, method`` -> trial id -> pairs of step and value.
        comparison: Which metrics are compared with a reference; None without one.
        events: Texts with their times, the last one first.
        importances: Rows ``problem, method, parameter, importance``.
        pairs: Rows of `effects.pairs` on the leading objective.
        transfer: Rows of `transfer.transfer`.
        biases: Rows of `bias.biases`.
        views: The task's `View`s.
        lines: Trial id -> name -> lines that the trial left.
        missing: Pictures and tables that have nothing to show, and why.
        sections: Titles and HTML of an analysis.
        pictures: Titles and data URIs.
    """

    title: str
    status: str
    is_running: bool
    findings: Sequence[str]
    objectives: Sequence[Mapping[str, Any]]
    trials: Sequence[Data]
    is_analysed: bool = False
    studies: Sequence[Mapping[str, Any]] = ()
    curves: Mapping[str, Any] = field(default_factory=dict)
    comparison: Comparison | None = None
    events: Sequence[Mapping[str, str]] = ()
    importances: Sequence[Mapping[str, Any]] = ()
    pairs: Sequence[Mapping[str, Any]] = ()
    transfer: Sequence[Mapping[str, Any]] = ()
    biases: Sequence[Mapping[str, Any]] = ()
    views: Sequence[Mapping[str, Any]] = ()
    lines: Mapping[str, Any] = field(default_factory=dict)
    missing: Sequence[tuple[str, str]] = ()
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
    params = active(task, row["method"], row["hyperparams_json"])
    declared = {name: value for name, value in row.items() if name not in _FIXED}
    metrics = declared | {name: (row.get(name) or {}) for name in ("metrics", "diagnostics")}
    first = row[leading_column(objectives, row)]
    values = [first, *(finite(in_row(row, name)) for name in objectives[1:])]
    data = {
        "id": row["trial_id"],
        "pid": row["pid"],
        "problem": row["problem"],
        "method": row["method"],
        "number": row["trial_number"],
        "state": row["state"],
        "verdict": _verdict(row, task),
        "reason": row["reason"],
        "feasible": row.get("feasible") is not False,
        "by": row["asked_by"],
        "values": values,
        "params": {name: value for name, value in params.items() if not is_seed(name)},
        "seeds": {name: value for name, value in params.items() if is_seed(name)},
        "replicate": row["seed"],
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


def views_of(task: Task | None) -> list[Data]:
    """Return the task's questions as plain data."""
    return [] if task is None else [asdict(view) for view in task.views]


def _verdict(row: Mapping[str, Any], task: Task | None) -> str:
    """Return how a trial went in a word: its state, or what its task says of a run that ended ok."""
    said = row.get(task.verdict) if task is not None and task.verdict is not None else None
    return said if row["state"] == State.OK and isinstance(said, str) else row["state"]


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
