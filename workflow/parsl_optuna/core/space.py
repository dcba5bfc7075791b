"""Search spaces: what may vary, within which bounds. Pure records, no Optuna."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parsl_optuna.core.errors import SpecError
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
        return any(
            value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in self.choices
        )


Dimension = Float | Int | Categorical


@dataclass(frozen=True)
class Space:
    """The dimensions that vary and the values that are held fixed, by parameter name."""

    dimensions: Mapping[str, Dimension] = field(default_factory=dict)
    fixed: Mapping[str, Scalar] = field(default_factory=dict)

    def contains(self, params: Mapping[str, Scalar]) -> bool:
        """Whether *params* is a complete point of this space."""
        if set(params) != set(self.dimensions) | set(self.fixed):
            return False
        varying = all(dim.contains(params[name]) for name, dim in self.dimensions.items())
        return varying and all(params[name] == value for name, value in self.fixed.items())

    def size(self) -> float:
        """Number of points; ``inf`` when a dimension is continuous."""
        total = 1.0
        for dimension in self.dimensions.values():
            if isinstance(dimension, Float):
                total *= math.inf if dimension.low < dimension.high else 1
            elif isinstance(dimension, Int):
                total *= (dimension.high - dimension.low) // dimension.step + 1
            else:
                total *= len(dimension.choices)
        return total

    def points(self) -> Iterator[dict[str, Scalar]]:
        """Yield every point of a finite space, the last parameter varying fastest."""
        for values in itertools.product(*(_values(dimension) for dimension in self.dimensions.values())):
            yield dict(zip(self.dimensions, values, strict=True))

    def describe(self) -> dict[str, str]:
        """Return one short text per parameter, varying ones first."""
        texts = {name: _describe(dimension) for name, dimension in self.dimensions.items()}
        return texts | {name: f"= {value}" for name, value in self.fixed.items()}


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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _describe(dimension: Dimension) -> str:
    if isinstance(dimension, Categorical):
        return "{" + ", ".join(str(choice) for choice in dimension.choices) + "}"
    scale = " log" if dimension.log else ""
    step = f" step {dimension.step}" if isinstance(dimension, Int) and dimension.step > 1 else ""
    return f"[{dimension.low:g}, {dimension.high:g}]{scale}{step}"
