"""A task that does nothing, for measuring everything around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parsl_optuna.core.space import Float, Scalar, Space
from parsl_optuna.tasks.base import Metrics, Task, Work


def resolve(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Take a problem as it is written."""
    del where
    return dict(raw)


def _complete(
    problem: Mapping[str, Any], method: str, params: Mapping[str, Any], where: str
) -> dict[str, Scalar]:
    del problem, method, where
    return {"x": 0.0, "y": 0.0, **params}


def _space(problem: Mapping[str, Any], method: str) -> Space:
    del problem, method
    return Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})


def run(work: Work) -> Metrics:
    """Return at once."""
    return {"loss": work.params["x"]}


TASK = Task(
    name="benchmarks.noop:TASK",
    version=1,
    resolve=resolve,
    methods=("noop",),
    complete=_complete,
    space=_space,
    run=run,
)
