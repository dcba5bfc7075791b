"""What searches are compared on, as one task: tables of trained networks, and functions with known minima."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from parsl_optuna.core.space import Categorical, Dimension, Float, Int, Scalar, Space
from parsl_optuna.tasks.base import Metrics, Task, Work

from benchmarks import tables
from benchmarks.noop import resolve

Point = Mapping[str, Scalar]

# Hartmann's function of six parameters (Dixon & Szego 1978); its minimum is -3.32237.
_A = np.array(
    [
        [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
        [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
        [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
        [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
    ]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_WEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])


def _hartmann(x: np.ndarray) -> float:
    return 3.32237 - float(_WEIGHTS @ np.exp(-(_A * (x - _P) ** 2).sum(1)))


def _ackley(x: np.ndarray) -> float:
    """Of the cube [-5, 10]^d."""
    z = 15.0 * x - 5.0
    waves = np.exp(np.cos(2 * np.pi * z).mean())
    return float(20.0 - 20.0 * np.exp(-0.2 * np.sqrt((z**2).mean())) + np.e - waves)


def _rosenbrock(x: np.ndarray) -> float:
    """Of the cube [-2, 2]^d; its logarithm, as people would look at it."""
    z = 4.0 * x - 2.0
    return math.log1p(float((100.0 * (z[1:] - z[:-1] ** 2) ** 2 + (1.0 - z[:-1]) ** 2).sum()))


def _cliff(point: Point) -> float:
    """A training run: better with a larger effective step, up to a cliff where it diverges."""
    step = math.log10(_number(point, "rate")) - math.log10(1.0 - _number(point, "momentum"))
    if step > -0.3:
        return 10.0
    loss = 0.12 * (step + 1.0) ** 2 + 0.03 * (math.log10(_number(point, "decay")) + 4.0) ** 2
    return loss + 0.1 * (point["optimizer"] != "sgd") + 0.002 * abs(_number(point, "depth") - 5.0)


def _two_kinds(point: Point) -> float:
    """Each kind of model has a parameter of its own; the other one has no effect."""
    if point["kind"] == "kernel":
        return 0.2 + (math.log10(_number(point, "width")) + 1.0) ** 2
    return (_number(point, "share") - 0.3) ** 2 + 0.05 * abs(_number(point, "trees") - 40.0)


def _layers(point: Point) -> float:
    """A parameter per layer, of which those beyond the depth have no effect."""
    depth = int(_number(point, "depth"))
    misses = [(_number(point, f"width_{i}") - (0.2 + 0.2 * i)) ** 2 for i in range(depth)]
    return sum(misses) + 0.3 * (4 - depth) ** 2


@dataclass(frozen=True)
class Problem:
    """A problem.

    Attributes:
        name: As ``family/name``.
        space: What varies.
        look: Return the loss of a point, for a replicate number, and how long it takes in seconds.
        regret: Return, of a point, what is left to gain: of a table 0 at its best, 1 at its median entry.
    """

    name: str
    space: Space
    look: Callable[[Point, int], tuple[float, float]]
    regret: Callable[[Point], float]


def names(families: tuple[str, ...] = ("tables", "functions")) -> list[str]:
    """Return the names of the problems."""
    found = tables.names() if "tables" in families else []
    return [*found, *(f"function/{name}" for name in _FUNCTIONS)] if "functions" in families else found


def problem(name: str) -> Problem:
    """Return a problem; ``noisy:SEED:`` before the name of a table takes one repeat instead of the mean."""
    if name.startswith("function/"):
        dimensions, function = _FUNCTIONS[name.removeprefix("function/")]
        return Problem(
            name,
            Space(dimensions),
            lambda point, _: (function(point), _seconds(point)),
            lambda point: function(point),
        )
    *noise, name = name.split(":")
    table = tables.table(name)

    def look(point: Point, replicate: int) -> tuple[float, float]:
        loss, seconds = table.look(point)
        return (table.repeat(point, replicate + int(noise[1])) if noise else loss), seconds

    return Problem(name, tables.space(name), look, lambda point: table.regret(table.look(point)[0]))


def _cube(count: int) -> dict[str, Dimension]:
    return {f"x{i}": Float(0.0, 1.0) for i in range(count)}


def _of_vector(function: Callable[[np.ndarray], float]) -> Callable[[Point], float]:
    return lambda point: function(np.array([_number(point, f"x{i}") for i in range(len(point))]))


_FUNCTIONS: dict[str, tuple[Mapping[str, Dimension], Callable[[Point], float]]] = {
    "hartmann6": (_cube(6), _of_vector(_hartmann)),
    "ackley5": (_cube(5), _of_vector(_ackley)),
    "rosenbrock4": (_cube(4), _of_vector(_rosenbrock)),
    "hartmann6_of_20": (_cube(20), lambda point: _hartmann(
        np.array([point[f"x{3 * i}"] for i in range(6)], dtype=float)
    )),
    "ackley50": (_cube(50), _of_vector(_ackley)),
    "training_cliff": (
        {
            "rate": Float(1e-5, 1.0, log=True),
            "momentum": Float(0.0, 0.99),
            "decay": Float(1e-6, 0.1, log=True),
            "optimizer": Categorical(("sgd", "adam", "rmsprop")),
            "depth": Int(1, 12),
        },
        _cliff,
    ),
    "two_kinds": (
        {
            "kind": Categorical(("kernel", "forest")),
            "width": Float(1e-4, 10.0, log=True),
            "share": Float(0.0, 1.0),
            "trees": Int(1, 200),
        },
        _two_kinds,
    ),
    "layers": ({"depth": Int(1, 4)} | {f"width_{i}": Float(0.0, 1.0) for i in range(4)}, _layers),
}  # fmt: skip


def _number(point: Point, name: str) -> float:
    return float(point[name])  # type: ignore[arg-type]


def _seconds(point: Point) -> float:
    """Return how long a trial takes: between 5 and 15 minutes, the same for the same point."""
    digest = hashlib.sha256(repr(sorted(point.items())).encode()).digest()
    return 300.0 + 600.0 * digest[0] / 255.0


def _complete(
    raw: Mapping[str, Any], method: str, params: Mapping[str, Any], where: str
) -> dict[str, Scalar]:
    del method, where
    return {name: one.first for name, one in problem(raw["name"]).space.dimensions.items()} | dict(params)


def _run(work: Work) -> Metrics:
    return {"loss": problem(work.problem["name"]).look(work.params, work.replicate)[0]}


TASK = Task(
    name="benchmarks.problems:TASK",
    version=1,
    resolve=resolve,
    methods=("look",),
    complete=_complete,
    space=lambda raw, method: problem(raw["name"]).space,  # noqa: ARG005
    run=_run,
)
