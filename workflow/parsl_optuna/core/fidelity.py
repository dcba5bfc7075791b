"""Shorter trials first: what is good at a low fidelity runs on at the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.space import Scalar


@dataclass(frozen=True)
class Fidelity:
    """The block ``optuna.fidelity``: trials of different length, of which only the best go on.

    Attributes:
        parameter: The hyperparameter that says how long a trial is, such as a number of epochs.
        min: Its value on the lowest rung, where every new point begins.
        max: Its value on the highest rung, by which points are chosen.
        factor: A rung is so many times longer than the one below, and one of so many points goes on to it.

    Raises:
        SpecError: The rungs are no ladder.
    """

    parameter: str
    min: float
    max: float
    factor: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.min < self.max:
            raise SpecError(f"min {self.min} must be above 0 and below max {self.max}")
        if self.factor < 2:
            raise SpecError(f"factor {self.factor} must be at least 2")

    @cached_property
    def rungs(self) -> tuple[Scalar, ...]:
        """The values of the parameter, the lowest first; whole numbers where ``min`` and ``max`` are."""
        values, next_value = [], self.min
        while next_value < self.max:
            values.append(next_value)
            next_value *= self.factor
        values.append(self.max)
        is_whole = float(self.min).is_integer() and float(self.max).is_integer()
        return tuple(int(value) if is_whole else float(value) for value in values)

    def rung_of(self, params: Mapping[str, Scalar]) -> int:
        """Return the place of a point's rung, from 0."""
        return self.rungs.index(params[self.parameter])

    def at(self, point: Mapping[str, Scalar], rung: int) -> dict[str, Scalar]:
        """Return a point on another rung."""
        return {**point, self.parameter: self.rungs[rung]}
