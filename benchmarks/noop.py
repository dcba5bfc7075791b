"""A task that does nothing, for measuring everything around it."""

from __future__ import annotations

from workflow.space import Float, Space
from workflow.tasks.base import Task, Work


def _resolve(raw, where):
    del where
    return dict(raw)


def _complete(method, params, where):
    del method, where
    return {"x": 0.0, "y": 0.0, **params}


def _space(problem, method):
    del problem, method
    return Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})


def run(work: Work):
    """Return at once."""
    return {"loss": work.params["x"]}


TASK = Task(
    name="benchmarks.noop:TASK",
    version=1,
    resolve=_resolve,
    methods=("noop",),
    complete=_complete,
    space=_space,
    run=run,
)
