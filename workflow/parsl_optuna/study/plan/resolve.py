"""A task by its name, and problems as written made into problems with an id. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from parsl_optuna.core.errors import Mistakes, SpecError
from parsl_optuna.core.ids import problem_id
from parsl_optuna.core.labels import distinct
from parsl_optuna.core.records import Manifest
from parsl_optuna.tasks.base import Task, resolve_task


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
    """Return a short text for a problem as written: its names, then its overrides."""
    kept = [value for key, value in raw.items() if key != "overrides" and not isinstance(value, dict)]
    words = [str(value) for value in kept if value is not None and not isinstance(value, list)]
    lists = [value for value in kept if isinstance(value, list)]
    if lists and all(
        isinstance(value, (bool, list)) for value in kept
    ):  # a command, whose macros say nothing
        words = [" ".join(str(one) for one in value if not str(one).startswith("${")) for value in lists[:1]]
    return "/".join(words) + ("+overrides" if raw.get("overrides") else "")


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
