"""Search spaces: what may vary, within which bounds. Pure records, no Optuna."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.grid import Grid
from parsl_optuna.core.ids import without_exact_form

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Float:
    """A real interval [low, high]; uniform, or uniform in the logarithm.

    With a step, the numbers low, low + step, … up to high; on a log scale low is a multiple of step.

    Raises:
        SpecError: Bounds upside down, not finite, or a log scale that reaches zero; a step that cannot be.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        _check_bounds("Float", self.low, self.high, self.log)
        if self.step is not None:
            _check_step(self.low, self.step, self.log)

    @property
    def first(self) -> Scalar:
        """A value of it."""
        return self.low

    @cached_property
    def grid(self) -> Grid | None:
        """Its values; None where they are a continuum."""
        return None if self.step is None else _grid(float(self.low), float(self.high), self.step, self.log)

    def stored(self, value: Scalar) -> Scalar:
        """Return a value as trials hold it: 0.1 + 0.2 is 0.3 at steps of 0.1."""
        is_snapped = self.grid is not None and _is_number(value)
        return self.grid.snapped(float(value)) if is_snapped else value  # type: ignore[union-attr, arg-type]

    def contains(self, value: Scalar) -> bool:
        """Whether *value* is a number within the bounds, and one of the steps."""
        if not _is_number(value) or not self.low <= float(value) <= self.high:  # type: ignore[arg-type]
            return False
        return self.grid is None or self.grid.at(self.grid.index(float(value))) == value  # type: ignore[arg-type]


@dataclass(frozen=True)
class Int:
    """The integers low, low + step, … up to high; on a log scale low is a multiple of step.

    Raises:
        SpecError: Bounds upside down, or a step that is not positive.
    """

    low: int
    high: int
    step: int = 1
    log: bool = False

    def __post_init__(self) -> None:
        inexact = without_exact_form((self.low, self.high))
        if inexact is not None:
            raise SpecError(f"the bound {inexact}")
        _check_bounds("Int", self.low, self.high, self.log)
        if self.step < 1:
            raise SpecError(f"step {self.step} must be at least 1")
        _check_step(self.low, self.step, self.log)

    @property
    def first(self) -> Scalar:
        """A value of it."""
        return self.low

    @cached_property
    def grid(self) -> Grid:
        """Its values."""
        return _grid(self.low, self.high, self.step, self.log)

    def stored(self, value: Scalar) -> Scalar:
        """Return a value as trials hold it: 3.0 is 3."""
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def contains(self, value: Scalar) -> bool:
        """Whether *value* is an integer on the grid."""
        if not _is_number(value) or not float(value).is_integer():  # type: ignore[arg-type]
            return False
        return self.low <= int(value) <= self.high and (int(value) - self.low) % self.step == 0  # type: ignore[arg-type]


@dataclass(frozen=True)
class Categorical:
    """A finite set of choices.

    Attributes:
        choices: The values.
        ordered: Whether neighbours among them are alike, so that a search takes their places for numbers.

    Raises:
        SpecError: No choices, the same choice twice, or a number that JSON does not hold.
    """

    choices: tuple[Scalar, ...]
    ordered: bool = False

    def __post_init__(self) -> None:
        if not self.choices:
            raise SpecError("choices is empty; give at least one value")
        inexact = without_exact_form(self.choices)
        if inexact is not None:
            raise SpecError(f"the choice {inexact}")
        if len({(isinstance(choice, bool), choice) for choice in self.choices}) < len(self.choices):
            raise SpecError(f"choices {list(self.choices)} names a value twice; 1 and 1.0 are one value")

    @property
    def first(self) -> Scalar:
        """A value of it."""
        return self.choices[0]

    def stored(self, value: Scalar) -> Scalar:
        """Return a value as trials hold it."""
        return value

    def contains(self, value: Scalar) -> bool:
        """Whether *value* is one of the choices, a bool never counting as a number."""
        return is_among(value, self.choices)


Dimension = Float | Int | Categorical

Conditions = Mapping[str, Mapping[str, tuple[Scalar, ...]]]
"""Parameter -> other parameters, each with its values at which the first one is active."""


@dataclass(frozen=True)
class Space:
    """The dimensions that vary and the values that are held fixed, by parameter name.

    A point has no value for an inactive parameter: one whose conditions do not all hold, or that depends on
    an inactive one.

    Raises:
        SpecError: A condition that names no parameter that varies, or none of its values; a circle of them.
    """

    dimensions: Mapping[str, Dimension] = field(default_factory=dict)
    fixed: Mapping[str, Scalar] = field(default_factory=dict)
    conditions: Conditions = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, when in self.conditions.items():
            for parent, allowed in when.items():
                _check_condition(name, parent, allowed, self.dimensions)
        if self.conditions:
            self.ordered  # noqa: B018  raises for a circle

    @property
    def varying(self) -> Space:
        """The space without what is fixed."""
        return Space(self.dimensions, {}, self.conditions)

    def is_active(self, name: str, values: Mapping[str, Scalar]) -> bool:
        """Whether a parameter is active where others have these *values*."""
        return all(
            parent in values and is_among(values[parent], allowed) and self.is_active(parent, values)
            for parent, allowed in self.conditions.get(name, {}).items()
        )

    def active(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return those of *values* that are of an active dimension, in its order."""
        return {
            name: values[name] for name in self.dimensions if name in values and self.is_active(name, values)
        }

    def contains(self, params: Mapping[str, Scalar]) -> bool:
        """Whether *params* is a complete point of this space."""
        names = {name for name in self.dimensions if self.is_active(name, params)}
        if set(params) != names | set(self.fixed):
            return False
        varying = all(self.dimensions[name].contains(params[name]) for name in names)
        return varying and all(params[name] == value for name, value in self.fixed.items())

    def size(self) -> float:
        """Number of points; ``inf`` when a dimension is continuous."""
        return self._size

    @cached_property
    def _size(self) -> float:
        parents = {parent for when in self.conditions.values() for parent in when}
        total = 0.0
        for values, count in self._classes([name for name in self.ordered if name in parents]):
            others = (
                name for name in self.dimensions if name not in parents and self.is_active(name, values)
            )
            total += count * math.prod(_count(self.dimensions[name]) for name in others)
        return total

    def _classes(self, parents: Sequence[str]) -> Iterator[tuple[dict[str, Scalar], float]]:
        """Yield points of the parameters that others depend on, values of equal consequence as one."""
        if not parents:
            yield {}, 1.0
            return
        *before, name = parents
        dimension = self.dimensions[name]
        conditions = (when[name] for when in self.conditions.values() if name in when)
        named = list(dict.fromkeys((type(value), value) for allowed in conditions for value in allowed))
        rest = _count(dimension) - len(named)
        for values, count in self._classes(before):
            if not self.is_active(name, values):
                yield values, count
                continue
            for _, value in named:
                yield {**values, name: value}, count
            if rest:
                yield {**values, name: _Other.VALUE}, count * rest  # type: ignore[dict-item]

    def points(self) -> Iterator[dict[str, Scalar]]:
        """Yield every point of a finite space, the last parameter varying fastest."""
        if not self.conditions:
            for values in itertools.product(*(_values(dimension) for dimension in self.dimensions.values())):
                yield dict(zip(self.dimensions, values, strict=True))
            return
        yield from self._points({}, self.ordered)

    def _points(self, begun: dict[str, Scalar], left: Sequence[str]) -> Iterator[dict[str, Scalar]]:
        if not left:
            yield {name: begun[name] for name in self.dimensions if name in begun}
        elif self.is_active(left[0], begun):
            for value in _values(self.dimensions[left[0]]):
                yield from self._points({**begun, left[0]: value}, left[1:])
        else:
            yield from self._points(begun, left[1:])

    @cached_property
    def ordered(self) -> tuple[str, ...]:
        """Names of the dimensions, each behind those that it depends on."""
        found: dict[str, None] = {}
        for name in self.dimensions:
            self._visit(name, found, ())
        return tuple(found)

    def _visit(self, name: str, found: dict[str, None], path: tuple[str, ...]) -> None:
        if name in path:
            circle = " -> ".join([*path[path.index(name) :], name])
            raise SpecError(f"{name}.when: the conditions go in a circle: {circle}")
        for parent in self.conditions.get(name, {}):
            self._visit(parent, found, (*path, name))
        found[name] = None

    def describe(self) -> dict[str, str]:
        """Return one short text per parameter, varying ones first."""
        texts = {name: _describe(dimension) for name, dimension in self.dimensions.items()}
        for name, when in self.conditions.items():
            told = (f"{parent} = {' or '.join(map(str, allowed))}" for parent, allowed in when.items())
            texts[name] += f" when {' and '.join(told)}"
        return texts | {name: f"= {value}" for name, value in self.fixed.items()}


class _Other(Enum):
    """Stands for the values that no condition names."""

    VALUE = 0


def point_key(point: Mapping[str, Scalar]) -> str:
    """Return what equal points share, whatever the order of their values."""
    return json.dumps(dict(point), sort_keys=True)


def is_among(value: Scalar, allowed: Sequence[Scalar]) -> bool:
    """Whether a value is one of some, a bool never counting as a number."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed)


def _check_condition(
    name: str, parent: str, allowed: Sequence[Scalar], dimensions: Mapping[str, Dimension]
) -> None:
    others = [other for other in dimensions if other != name]
    if parent == name or parent not in dimensions:
        raise SpecError(
            f"{name}.when.{parent}: is no other parameter that varies here; {nearest(parent, others)}"
        )
    dimension = dimensions[parent]
    if isinstance(dimension, Float) and dimension.step is None:
        raise SpecError(
            f"{name}.when.{parent}: a condition needs a parameter with choices, steps or whole numbers, and "
            f"'{parent}' is a range of real ones"
        )
    if not allowed:
        raise SpecError(f"{name}.when.{parent}: names no value; give one, or a list")
    for value in allowed:
        if not dimension.contains(value):
            known = [str(one) for one in dimension.choices] if isinstance(dimension, Categorical) else []
            cure = nearest(str(value), known) if known else f"they are {_describe(dimension)}"
            raise SpecError(f"{name}.when.{parent}: {value!r} is none of its values; {cure}")


def _check_bounds(kind: str, low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SpecError(f"bounds must be finite, got low {low}, high {high}")
    if low > high:
        raise SpecError(f"low {low} is above high {high}; swap them")
    if not math.isfinite(high - low):
        raise SpecError(f"low {low} and high {high} are too far apart: no number holds their distance")
    if log and low <= 0:
        raise SpecError(f"a log scale needs low above 0, got {low} ({kind})")


def _check_step(low: float, step: float, log: bool) -> None:
    if not (math.isfinite(step) and step > 0):
        raise SpecError(f"step {step} must be a number above 0")
    grid = _grid(low, low, step, log)
    if grid.at(grid.first) != low:
        raise SpecError(f"on a log scale low must be a multiple of step, and {low:g} is none of {step:g}")


def _grid(low: float, high: float, step: float, log: bool) -> Grid:
    """Return the values of a range with steps; on a log scale the multiples of a step, by their number."""
    return Grid(0.0, step, round(low / step), high) if log else Grid(low, step, 0, high)


def uneven(dimension: Dimension) -> str | None:
    """Say so where the upper bound is none of the values at equal steps; None where it is."""
    grid = None if isinstance(dimension, Categorical) else dimension.grid
    if grid is None or isinstance(dimension, Categorical) or grid.is_whole:
        return None
    return (
        f"high {dimension.high:g} is not low {dimension.low:g} and a whole number of steps of "
        f"{grid.step:g}; the last value is {grid.at(grid.last):g}"
    )


def _values(dimension: Dimension) -> Sequence[Scalar]:
    if isinstance(dimension, Categorical):
        return dimension.choices
    if isinstance(dimension, Int):
        return range(dimension.low, dimension.high + 1, dimension.step)
    if dimension.grid is not None:
        return [dimension.grid.at(index) for index in range(dimension.grid.first, dimension.grid.last + 1)]
    if dimension.low < dimension.high:
        raise SpecError(f"[{dimension.low:g}, {dimension.high:g}] has no list of values; give choices")
    return (dimension.low,)


def _count(dimension: Dimension) -> float:
    """Return how many values a dimension has."""
    if isinstance(dimension, Categorical):
        return len(dimension.choices)
    if dimension.grid is not None:
        return dimension.grid.last - dimension.grid.first + 1
    return math.inf if dimension.low < dimension.high else 1


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, int) or math.isfinite(value)


def _describe(dimension: Dimension) -> str:
    if isinstance(dimension, Categorical):
        return "{" + (" < " if dimension.ordered else ", ").join(map(str, dimension.choices)) + "}"
    scale = " log" if dimension.log else ""
    high, step = dimension.high, ""
    if dimension.grid is not None:
        high = dimension.grid.at(dimension.grid.last)
        step = "" if isinstance(dimension, Int) and dimension.step == 1 else f" step {dimension.step:g}"
    return f"[{dimension.low:g}, {high:g}]{scale}{step}"
