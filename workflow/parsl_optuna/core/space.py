"""Search spaces: what may vary, within which bounds. Pure records, no Optuna."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.ids import without_exact_form

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Float:
    """A real interval [low, high]; uniform, or uniform in the logarithm.

    Raises:
        SpecError: Bounds upside down, not finite, or a log scale that reaches zero.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds("Float", self.low, self.high, self.log)

    @property
    def first(self) -> Scalar:
        """A value of it."""
        return self.low

    def contains(self, value: Scalar) -> bool:
        """Whether *value* is a number within the bounds."""
        return _is_number(value) and self.low <= float(value) <= self.high  # type: ignore[arg-type]


@dataclass(frozen=True)
class Int:
    """The integers low, low + step, … up to high; on a log scale step must be 1.

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
        if self.step < 1 or (self.log and self.step != 1):
            raise SpecError(f"step {self.step} must be at least 1 (exactly 1 on a log scale)")

    @property
    def first(self) -> Scalar:
        """A value of it."""
        return self.low

    def contains(self, value: Scalar) -> bool:
        """Whether *value* is an integer on the grid."""
        if not _is_number(value) or float(value) != int(value):  # type: ignore[arg-type]
            return False
        return self.low <= int(value) <= self.high and (int(value) - self.low) % self.step == 0  # type: ignore[arg-type]


@dataclass(frozen=True)
class Categorical:
    """A finite set of choices without order.

    Raises:
        SpecError: No choices, the same choice twice, or a number that JSON does not hold.
    """

    choices: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        if not self.choices:
            raise SpecError("choices is empty; give at least one value")
        inexact = without_exact_form(self.choices)
        if inexact is not None:
            raise SpecError(f"the choice {inexact}")
        if len({(type(choice), choice) for choice in self.choices}) < len(self.choices):
            raise SpecError(f"choices {list(self.choices)} names a value twice")

    @property
    def first(self) -> Scalar:
        """A value of it."""
        return self.choices[0]

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
    if isinstance(dimension, Float):
        raise SpecError(
            f"{name}.when.{parent}: a condition needs a parameter with choices or of whole numbers, and "
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
    if log and low <= 0:
        raise SpecError(f"a log scale needs low above 0, got {low} ({kind})")


def _values(dimension: Dimension) -> Sequence[Scalar]:
    if isinstance(dimension, Categorical):
        return dimension.choices
    if isinstance(dimension, Int):
        return range(dimension.low, dimension.high + 1, dimension.step)
    if dimension.low < dimension.high:
        raise SpecError(f"[{dimension.low:g}, {dimension.high:g}] has no list of values; give choices")
    return (dimension.low,)


def _count(dimension: Dimension) -> float:
    """Return how many values a dimension has."""
    if isinstance(dimension, Float):
        return math.inf if dimension.low < dimension.high else 1
    if isinstance(dimension, Int):
        return (dimension.high - dimension.low) // dimension.step + 1
    return len(dimension.choices)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _describe(dimension: Dimension) -> str:
    if isinstance(dimension, Categorical):
        return "{" + ", ".join(str(choice) for choice in dimension.choices) + "}"
    scale = " log" if dimension.log else ""
    step = f" step {dimension.step}" if isinstance(dimension, Int) and dimension.step > 1 else ""
    return f"[{dimension.low:g}, {dimension.high:g}]{scale}{step}"
