"""A task by its name, and problems as written made into problems with an id. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from parsl_optuna.core.errors import Mistakes, SpecError
from parsl_optuna.core.ids import problem_id
from parsl_optuna.core.labels import distinct
from parsl_optuna.core.records import Manifest
from parsl_optuna.tasks.base import Task, resolve_task

_MOST_CHANGES = 3
"""More overrides or arguments than these would hide the names before them."""


@dataclass(frozen=True)
class ProblemPlan:
    """A bound problem.

    Attributes:
        pid: Its id.
        label: Short text for people.
        problem: Resolved spec.
        reference: Manifest of the reference; None when the run needs none.
    """

    pid: str
    label: str
    problem: Mapping[str, Any]
    reference: Manifest | None


def bind_task(name: str, where: str) -> Task:
    """Find a task; raises `SpecError` with its place."""
    try:
        return resolve_task(name)
    except SpecError as error:
        raise SpecError(f"{where} $.task: {error}") from error


def bind_problem(task: Task, raw: Mapping[str, Any], where: str) -> ProblemPlan:
    """Resolve a problem as written; raises `SpecError` with its place."""
    problem = task.resolve(raw, where)
    pid = problem_id(task.name, task.version, problem)
    return ProblemPlan(pid, label_of(raw) or task.name, problem, None)


def label_of(raw: Mapping[str, Any]) -> str:
    """Return a short text for a problem as written: its names, overrides, and a function's arguments."""
    kept = {key: value for key, value in raw.items() if key != "overrides"}
    words = [word for value in kept.values() if (word := _word(value))]
    named = [value for value in kept.values() if not isinstance(value, dict)]
    lists = [value for value in named if isinstance(value, list)]
    if lists and all(
        isinstance(value, (bool, list)) for value in named
    ):  # a command, whose macros say nothing
        words = [" ".join(str(one) for one in value if not str(one).startswith("${")) for value in lists[:1]]
    return "/".join(words) + "".join(_changes(raw.get(name), name) for name in ("overrides", "args"))


def _word(value: Any) -> str:
    """Return what names a value: a mapping does by its ``kind`` and the rest of it."""
    if isinstance(value, dict):
        rest = [word for key, word in _leaves(value) if key != "kind"]
        return f"{value['kind']}({', '.join(rest)})" if "kind" in value else ""
    return "" if value is None or isinstance(value, list) else str(value)


def _changes(written: Any, name: str) -> str:
    """Return what was written below *name*, if it is little; else the name."""
    changes = [word for _, word in _leaves(written)] if isinstance(written, dict) else []
    if len(changes) > _MOST_CHANGES:
        return f"+{name}"
    return "".join(f"+{word}" for word in changes)


def _leaves(mapping: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the keys of all depths that hold no mapping, each with ``key=value``."""
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            text = "-".join(map(str, value)) if isinstance(value, list) else str(value)
            yield key, f"{key}={text}"


def distinct_problems(problems: list[ProblemPlan], where: str, mistakes: Mistakes) -> list[ProblemPlan]:
    """Return the problems, labels made distinct, with a mistake added for each that is there twice."""
    seen: dict[str, int] = {}
    for index, problem in enumerate(problems):
        if problem.pid in seen:
            mistakes.add(
                f"{where} $.problems[{index}]: is the same problem as problems[{seen[problem.pid]}]; keep one"
            )
        seen.setdefault(problem.pid, index)
    labels = distinct({problem.pid: problem.label for problem in problems})
    return [replace(problem, label=labels[problem.pid]) for problem in problems]
