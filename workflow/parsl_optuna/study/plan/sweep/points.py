"""The points of a grid or of random draws, one at a time. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

from parsl_optuna.core.ids import derive_seed
from parsl_optuna.study.plan.sweep.file import Sweep


def grid_size(sweep: Sweep) -> int:
    """Return how many points a grid has, equal ones counted once."""
    return math.prod(len(values) for values in _lists(sweep))


def grid(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """Yield all points of a grid, the last name varying fastest; equal ones once."""
    lists = _lists(sweep)
    for index in range(grid_size(sweep)):
        point, rest = [], index
        for values in reversed(lists):
            rest, digit = divmod(rest, len(values))
            point.append(values[digit])
        yield dict(zip(sweep.parameters, reversed(point), strict=True))


def random_points(sweep: Sweep, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield *count* random points; the k-th one does not depend on how many there are."""
    for index in range(count):
        stream = random.Random(derive_seed("sweep", seed, index))
        yield {name: one.draw(stream) for name, one in sweep.parameters.items()}


def _lists(sweep: Sweep) -> list[Sequence[Any]]:
    return [one.listed(name) for name, one in sweep.parameters.items()]
