"""The columns of the table of trials, each declared once: name, type, meaning, and where its value is."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from parsl_optuna.core.ended import Ended
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.objective import COST, ERROR, SCORE, cost_of, score_of, signed_error
from parsl_optuna.tasks.base import Task

Kind = Literal["float", "int", "str", "bool", "time", "struct"]


@dataclass(frozen=True)
class Column:
    """A column that every table has.

    Attributes:
        name: Its name.
        kind: Its type.
        meaning: One line for people.
        value: Computes it from an ended trial; None leaves it empty.
    """

    name: str
    kind: Kind
    meaning: str
    value: Callable[[Ended, Task], Any]


def _error(entry: Ended, task: Task) -> float | None:
    error = signed_error(entry.outcome.metrics, task.comparison, entry.reference)
    return None if error is None else abs(error)


def _objective(entry: Ended, task: Task) -> float | None:
    name, value = next(iter(entry.objectives.items()), (ERROR, None))
    is_computed = name in (SCORE, COST) and name not in entry.outcome.metrics and task.comparison is not None
    return _error(entry, task) if is_computed else value


BEFORE_TASK = (
    Column("pid", "str", "Id of the problem.", lambda e, _: e.manifest.pid),
    Column("method", "str", "Name of the method.", lambda e, _: e.manifest.method),
    Column("trial_id", "str", "Id of the trial.", lambda e, _: e.manifest.trial_id),
    Column("trial_number", "int", "Number in its study; empty outside one.", lambda e, _: e.asked.number),
    Column("state", "str", "How it ended.", lambda e, _: e.outcome.state.value),
    Column("reason", "str", "Why its state is not ``ok``.", lambda e, _: e.outcome.reason),
    Column(
        "objective",
        "float",
        "First objective; where the search goes by ``score`` or ``cost``, the same as ``error``.",
        _objective,
    ),
    Column("error", "float", "Absolute difference from the reference value.", _error),
)


def leading_column(names: Sequence[str], columns: Collection[str]) -> str:
    """Return the column of what a search went by: ``objective``, but of ``score`` and ``cost`` their own."""
    return names[0] if names[0] in COMPUTED and names[0] in columns else "objective"


COMPUTED = {SCORE: score_of, COST: cost_of}
"""Columns of tasks whose search goes by ``score``."""
AFTER_TASK = (
    Column(
        "reference_status",
        "str",
        "Diagnosis of the reference.",
        lambda e, _: e.reference.status if e.reference else None,
    ),
    Column(
        "reference_id",
        "str",
        "Trial that computed the reference.",
        lambda e, _: e.reference.trial_id if e.reference else None,
    ),
    Column(
        "feasible",
        "bool",
        "Whether it meets every constraint; empty without constraints, and of trials that failed.",
        lambda e, _: not e.violation if e.violations and e.minimised is not None else None,
    ),
    Column("runtime_sec", "float", "Wall time of the run itself.", lambda e, _: e.outcome.runtime_sec),
    Column("budget_sec", "float", "Time allowed.", lambda e, _: e.manifest.budget_sec),
    Column("prepare_sec", "float", "Time spent preparing the problem.", lambda e, _: e.outcome.prepare_sec),
    Column("seed", "int", "Replicate number.", lambda e, _: e.manifest.seed),
    Column("asked_by", "str", "Who proposed it.", lambda e, _: e.asked.by),
    Column("started", "time", "When it started.", lambda e, _: datetime.fromisoformat(e.outcome.started)),
    Column("ended", "time", "When it ended.", lambda e, _: datetime.fromisoformat(e.outcome.ended)),
    Column("host", "str", "Where it ran.", lambda e, _: e.outcome.host),
    Column("git_commit", "str", "Commit of the code.", lambda e, _: e.outcome.git_commit),
    Column("problem", "str", "Label of the problem.", lambda e, _: e.label),
    Column("task", "str", "Name of the task.", lambda e, _: e.manifest.task),
    Column(
        "hyperparams_json",
        "str",
        "Its own hyperparameters alone, with exact types, as JSON.",
        lambda e, _: json.dumps(dict(e.manifest.hyperparams), sort_keys=True),
    ),
)
COLUMNS = (*BEFORE_TASK, *AFTER_TASK)
STRUCTS = {
    "hyperparams": "Hyperparameters, over all names that occur.",
    "diagnostics": "Entries of the metric ``diagnostics``, where it is a mapping.",
    "violations": "By how much each constraint is missed, at most 0 where it is met; only with constraints.",
    "metrics": "Metrics that the task does not declare as columns: numbers, texts, true or false.",
}


def task_columns(task: Task) -> dict[str, str]:
    """Return the columns that a task adds, with their types: declared metrics, then its reference value.

    Raises:
        SpecError: One has the name of a column that every table has.
    """
    comparison = task.comparison
    reference = [comparison.reference, comparison.reference_se] if comparison else []
    computed = COMPUTED if task.objective == SCORE else {}
    found = dict(task.columns) | dict.fromkeys([*reference, *computed], "float")
    taken = sorted(found.keys() & ({column.name for column in COLUMNS} | STRUCTS.keys()))
    if taken:
        raise SpecError(f"task '{task.name}': the column '{taken[0]}' is one of every table; rename it")
    return found
