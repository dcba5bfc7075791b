"""A search space as coordinates: numbers in [0, 1], categories by index, parameters that may be absent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from parsl_optuna.core.space import Conditions

Array = NDArray[np.float64]

_SAME = 1e-9
"""Coordinates of one value differ by less, those of two values of a list by more."""

_ALL_VALUES = 32
"""Of a parameter with at most so many values each is a neighbour of each; of larger ones some are."""


class Axis:
    """One parameter.

    Args:
        distribution: Of Optuna.

    Attributes:
        n_values: How many values it has; 0 where they are a continuum.
        n_choices: How many categories it has; 0 of a number.
    """

    def __init__(self, distribution: BaseDistribution) -> None:
        self._distribution = distribution
        self.n_choices = self.n_values = 0
        if isinstance(distribution, CategoricalDistribution):
            self.n_choices = self.n_values = len(distribution.choices)
            self._index = {(type(one), one): i for i, one in enumerate(distribution.choices)}
            return
        assert isinstance(distribution, (FloatDistribution, IntDistribution))
        if distribution.low == distribution.high:
            self.n_values = 1
        elif distribution.step is not None:
            self.n_values = round((distribution.high - distribution.low) / distribution.step) + 1
        # Equal widths for the integers of a log scale too: the first one begins half a step below itself.
        self._low = self._scaled(distribution.low)
        self._width = self._scaled(distribution.high) - self._low or 1.0

    def encode(self, value: Any) -> float:
        """Return the coordinate of a value; -1 of a category that is none of the choices."""
        if self.n_choices:
            return float(self._index.get((type(value), value), -1))
        return (self._scaled(float(value)) - self._low) / self._width

    def decode(self, coordinate: float) -> Any:
        """Return the value nearest to a coordinate."""
        distribution = self._distribution
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[int(coordinate)]
        assert isinstance(distribution, (FloatDistribution, IntDistribution))
        scaled = self._low + coordinate * self._width
        value = math.exp(scaled) if distribution.log else scaled
        if distribution.step is not None:
            value = distribution.low + distribution.step * round(
                (value - distribution.low) / distribution.step
            )
        value = min(max(value, distribution.low), distribution.high)
        return int(value) if isinstance(distribution, IntDistribution) else value

    def place(self, unit: Array) -> Array:
        """Return coordinates of values for uniform numbers in [0, 1)."""
        if not self.n_values:
            return unit
        index = np.minimum((unit * self.n_values).astype(int), self.n_values - 1)
        if self.n_choices:
            return index.astype(float)
        if getattr(self._distribution, "log", False):  # uniform in the logarithm, not among the integers
            return self.grid(np.round(np.exp(self._low + unit * self._width)) - self._distribution.low)  # type: ignore[attr-defined]
        return self.grid(index)

    def grid(self, index: NDArray[Any]) -> Array:
        """Return coordinates of values by their index."""
        if self.n_choices or self.n_values == 1:
            return np.asarray(index, dtype=float)
        distribution = self._distribution
        assert isinstance(distribution, (FloatDistribution, IntDistribution))
        values = distribution.low + (distribution.step or 0) * np.asarray(index, dtype=float)
        return ((np.log(values) if distribution.log else values) - self._low) / self._width

    def neighbours(self, coordinate: float) -> Array:
        """Return the coordinates of other values to look at beside one: all, or some at growing distances."""
        if not self.n_values:
            return np.empty(0)
        if self.n_values <= _ALL_VALUES:
            every = self.grid(np.arange(self.n_values))
            return every[np.abs(every - coordinate) > _SAME]
        if self.n_choices:
            mine = round(coordinate)
        else:
            distribution = self._distribution
            assert isinstance(distribution, (FloatDistribution, IntDistribution))
            mine = round((self.decode(coordinate) - distribution.low) / (distribution.step or 1))
        steps = 2 ** np.arange(int(math.log2(self.n_values)) + 1)
        found = np.concatenate([mine - steps, mine + steps])
        return self.grid(found[(found >= 0) & (found < self.n_values)])

    def _scaled(self, value: float) -> float:
        return math.log(value) if getattr(self._distribution, "log", False) and value > 0 else float(value)


@dataclass(frozen=True)
class Rule:
    """When a parameter is absent: where another one has certain values, or is absent itself.

    Attributes:
        parent: Index of the other parameter.
        absent: Its coordinates at which the parameter was absent.
        present: Those at which it was there.
    """

    parent: int
    absent: Array
    present: Array

    def applies(self, column: Array, is_category: bool) -> NDArray[np.bool_]:
        """Return where the parameter is there; of numbers that were never seen, the nearest one tells."""
        if is_category:
            return ~np.isin(column, self.absent)
        near_absent = np.abs(column[:, None] - self.absent).min(axis=1)
        near_present = np.abs(column[:, None] - self.present).min(axis=1)
        return near_present <= near_absent


class Given(NamedTuple):
    """When a parameter is there: where another one has one of certain values; several such rules must hold.

    Attributes:
        parent: Index of the other parameter.
        present: Its coordinates at which the parameter is there.
    """

    parent: int
    present: Array

    def applies(self, column: Array) -> NDArray[np.bool_]:
        """Return where the parameter is there; nowhere where the other one is absent."""
        return np.any(np.abs(column[:, None] - self.present) < _SAME, axis=1)


class Cube:
    """The coordinates of a search space.

    A point is a row with one coordinate per parameter; NaN where a parameter is absent.

    Args:
        space: Distributions by name.
        points: Parameters of the trials so far, which tell what is absent when.
        conditions: ``parameter -> other parameter -> values`` at which the first one is there; these are
            not learned from *points*.
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        points: Sequence[Mapping[str, Any]] = (),
        conditions: Conditions = MappingProxyType({}),
    ) -> None:
        self.names = tuple(space)
        self.axes = tuple(Axis(one) for one in space.values())
        self.known = self.encode(points)
        missing = np.isnan(self.known)
        self._given = self._rules_given(conditions)
        learned = [
            j
            for j in range(len(self.axes))
            if j not in self._given and len(points) and missing[:, j].any() and not missing[:, j].all()
        ]
        self._sometimes = sorted([*self._given, *learned])
        self._rules = {j: rule for j in learned if (rule := self._rule(j, missing)) is not None}

    @property
    def choices(self) -> tuple[int, ...]:
        """Numbers of categories of the columns of `for_model`; 0 of a number."""
        return (*(axis.n_choices for axis in self.axes), *(2 for _ in self._sometimes))

    @cached_property
    def size(self) -> float:
        """Number of points; ``inf`` where a parameter is continuous."""
        return math.prod(axis.n_values or math.inf for axis in self.axes)

    @cached_property
    def continuous(self) -> NDArray[np.intp]:
        """Indices of the parameters that are continuous."""
        return np.array([j for j, axis in enumerate(self.axes) if not axis.n_values], dtype=np.intp)

    def encode(self, points: Iterable[Mapping[str, Any]]) -> Array:
        """Return points as rows."""
        rows = [
            [
                axis.encode(point[name]) if name in point else math.nan
                for name, axis in zip(self.names, self.axes, strict=True)
            ]
            for point in points
        ]
        return np.array(rows, dtype=float).reshape(len(rows), len(self.axes))

    def decode(self, row: Array) -> dict[str, Any]:
        """Return the parameters of a row, of those that are there."""
        return {
            name: axis.decode(float(value))
            for name, axis, value in zip(self.names, self.axes, row, strict=True)
            if not math.isnan(value)
        }

    def place(self, unit: Array) -> Array:
        """Return points for uniform numbers, shape (points, parameters)."""
        columns = [axis.place(column) for axis, column in zip(self.axes, unit.T, strict=True)]
        return self.without_absent(np.stack(columns, axis=1))

    def without_absent(self, rows: Array) -> Array:
        """Return rows with NaN where a parameter is absent, given the others."""
        if self._given:
            rows = rows.copy()
        for j, rules in self._given.items():
            is_there = np.all([rule.applies(rows[:, rule.parent]) for rule in rules], axis=0)
            rows[~is_there, j] = math.nan
        for j, rule in self._rules.items():
            parent = rows[:, rule.parent]
            is_there = rule.applies(parent, self.axes[rule.parent].n_choices > 0) & ~np.isnan(parent)
            rows = rows.copy()
            rows[~is_there, j] = math.nan
        return rows

    def for_model(self, rows: Array) -> Array:
        """Return coordinates without NaN, and whether each parameter that may be absent is there."""
        missing = np.isnan(rows)
        filled = np.where(missing, [-1.0 if axis.n_choices else 0.5 for axis in self.axes], rows)
        return np.concatenate([filled, (~missing[:, self._sometimes]).astype(float)], axis=1)

    def neighbours(self, row: Array) -> Array:
        """Return points that differ from one in one parameter that is not continuous."""
        found = [row[None, :]]
        for j, axis in enumerate(self.axes):
            if math.isnan(row[j]):
                continue
            others = axis.neighbours(float(row[j]))
            block = np.repeat(row[None, :], len(others), axis=0)
            block[:, j] = others
            found.append(block)
        return self._completed(np.concatenate(found)[1:], row)

    def _completed(self, rows: Array, row: Array) -> Array:
        """Give parameters that may have become present the middle of their values."""
        if not self._rules and not self._given:
            return rows
        for j in self._sometimes:
            if math.isnan(row[j]):
                rows[:, j] = float(self.axes[j].place(np.array([0.5]))[0])
        return self.without_absent(rows)

    def _rules_given(self, conditions: Conditions) -> dict[int, list[Given]]:
        """Return the rules of each parameter, behind those of the parameters that it depends on."""
        index = {name: j for j, name in enumerate(self.names)}

        def depth(name: str) -> int:
            return 1 + max((depth(parent) for parent in conditions.get(name, ())), default=0)

        found = {}
        for name in sorted(conditions, key=depth):
            found[index[name]] = [
                Given(index[parent], np.array([self.axes[index[parent]].encode(value) for value in allowed]))
                for parent, allowed in conditions[name].items()
            ]
        return found

    def _rule(self, j: int, missing: NDArray[np.bool_]) -> Rule | None:
        """Find the parameter whose values tell in all trials whether parameter *j* is there."""
        for parent, axis in enumerate(self.axes):
            if parent == j or not axis.n_values:
                continue
            known = ~missing[:, parent]
            absent = np.unique(self.known[known & missing[:, j], parent])
            present = np.unique(self.known[known & ~missing[:, j], parent])
            is_told = len(absent) and len(present) and not np.isin(absent, present).any()
            if is_told and not (~missing[:, j] & ~known).any():
                return Rule(parent, absent, present)
        return None
