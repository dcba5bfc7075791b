"""Values at equal steps, as a person writes them: 0.3, where floating point has 0.30000000000000004."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

_ROUNDING = 1e-9
"""In units of a step: a number as near to a value is that value, computed in floating point."""


@dataclass(frozen=True)
class Grid:
    """The numbers ``base + index * step``, computed in decimals.

    Attributes:
        base: The value of index 0.
        step: The distance between values, above 0.
        first: Least index.
        bound: No value is above this one.
    """

    base: float
    step: float
    first: int
    bound: float

    @cached_property
    def last(self) -> int:
        """The largest index."""
        return int((_decimal(self.bound) - _decimal(self.base)) // _decimal(self.step))

    @property
    def is_whole(self) -> bool:
        """Whether the bound is the last value."""
        return self.at(self.last) == self.bound

    def at(self, index: int) -> float:
        """Return a value."""
        return float(_decimal(self.base) + index * _decimal(self.step))

    def index(self, value: float) -> int:
        """Return the index of the value nearest to a number."""
        return min(max(round((value - self.base) / self.step), self.first), self.last)

    def snapped(self, number: float) -> float:
        """Return the value that a number is up to rounding; the number itself where it is none."""
        value = self.at(self.index(number))
        return value if abs(value - number) <= _ROUNDING * self.step else number


def _decimal(number: float) -> Decimal:
    return Decimal(repr(number))
