"""From the metrics of a trial to its objectives: the only place where they are computed. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from parsl_optuna.core.constraint import Constraint, parse_whole
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.records import Comparison, ReferenceValue

Kind = Literal["abs", "huber", "standardised", "metric"]
Goal = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Objective:
    """What a study optimises first.

    Attributes:
        type: ``abs`` |x|; ``huber`` x^2/(2 delta) up to delta, then |x| - delta/2; ``standardised``
            |x| / sqrt(se^2 + se_ref^2), for x = estimate - reference; ``metric`` a metric itself.
        delta: Of ``huber``; null is twice the reference's standard error.
        metric: Of ``metric``; null is the task's own.
        goal: Whether ``metric`` is minimised or maximised.
    """

    type: Kind = "abs"
    delta: float | None = None
    metric: str | None = None
    goal: Goal = "minimize"

    def __post_init__(self) -> None:
        if self.delta is not None and not self.delta > 0:
            raise SpecError(f"delta {self.delta} must be above 0")
        if self.goal == "maximize" and self.type != "metric":
            raise SpecError("goal maximize goes with type metric; an error is always minimized")


ERROR = "error"
"""The name of the first objective in a list of several."""

SCORE, COST = "score", "cost"
COMPUTED = frozenset({SCORE, COST})
"""Objectives of a task with a reference, unless a metric has the name."""

DIAGNOSIS = "status == ok"
"""Name of the constraint of a task that diagnoses its trials."""

COST_ERROR = 0.05
"""Relative error that ``cost`` is for: half of what a trial may have at most to be called ok."""


@dataclass(frozen=True)
class Scoring:
    """How metrics become objectives, in the driver and in tables.

    It is stored with every trial as it is asked for, so that a table can be made from artifacts alone.

    Attributes:
        first: What ``error`` means.
        names: The objectives: ``error``, ``score``, ``cost`` or any metric, ``runtime_sec`` included; the
            first one leads.
        goals: Whether a metric is minimised or maximised, by name; minimised where it is left out.
        constraints: What a trial must meet to be the best, besides the diagnosis of its task.
    """

    first: Objective = field(default_factory=Objective)
    names: tuple[str, ...] = (ERROR,)
    goals: Mapping[str, Goal] = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()

    @property
    def leading(self) -> str:
        """What people call the first objective."""
        return self.first.metric or self.names[0] if self.names[0] == ERROR else self.names[0]

    def is_maximised(self, name: str) -> bool:
        """Whether more of an objective is better."""
        if name in (ERROR, self.first.metric) and name not in self.goals:
            return self.first.goal == "maximize"
        return self.goals.get(name) == "maximize"

    def scores(
        self, values: Mapping[str, Any], comparison: Comparison | None, reference: ReferenceValue | None
    ) -> dict[str, float | None]:
        """Return every objective of a trial, by name, as people see it; None where it is undefined.

        Args:
            values: The trial's metrics and ``runtime_sec``.
            comparison: Which metrics are compared; None for a task without reference.
            reference: The reference; None without one.
        """
        return {name: self._value(name, values, comparison, reference) for name in self.names}

    def _value(
        self,
        name: str,
        values: Mapping[str, Any],
        comparison: Comparison | None,
        reference: ReferenceValue | None,
    ) -> float | None:
        if name == ERROR:
            return _primary(self.first, values, comparison, reference)
        if name in _COMPUTED and name not in values:
            return _COMPUTED[name](values, comparison, reference)
        return finite(values.get(name))

    def violations(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Return by how much metrics miss each constraint, by its text; at most 0 where it is met."""
        return {one.text: one.violation(values) for one in self.constraints}

    def minimised(self, scores: Mapping[str, float | None]) -> tuple[float, ...] | None:
        """Return scores as the search sees them, which minimises them all; None unless every one is known."""
        known = {name: value for name, value in scores.items() if value is not None}
        if len(known) < len(scores):
            return None
        return tuple(-value if self.is_maximised(name) else value for name, value in known.items())

    def shown(self, minimised: Sequence[float]) -> dict[str, float | None]:
        """Return as people see them what the search minimises, by name."""
        return {
            name: -value if self.is_maximised(name) else value
            for name, value in zip(self.names, minimised, strict=True)
        }

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        data = {**asdict(self.first), "names": list(self.names), "goals": dict(self.goals)}
        return data | ({"constraints": [one.text for one in self.constraints]} if self.constraints else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scoring:
        """Read what `to_json` returned; older versions stored no ``goals`` and no ``constraints``."""
        known = {entry.name: data[entry.name] for entry in fields(Objective) if entry.name in data}
        constraints = tuple(parse_whole(text) for text in data.get("constraints", ()))
        names, goals = tuple(data.get("names", (ERROR,))), dict(data.get("goals", {}))
        return cls(Objective(**known), names, goals, constraints)


def signed_error(
    values: Mapping[str, Any], comparison: Comparison | None, reference: ReferenceValue | None
) -> float | None:
    """Return estimate - reference; None where either is missing."""
    if comparison is None or reference is None or reference.value is None:
        return None
    value = finite(values.get(comparison.value))
    return None if value is None else value - reference.value


def score_of(
    values: Mapping[str, Any], comparison: Comparison | None, reference: ReferenceValue | None
) -> float | None:
    """Return the error that a user can rely on: the observed one, or the stated one if that is larger.

    It is sqrt(bias^2 + variance) as one trial can tell it. A difference within the stated error, of standard
    errors and known bias, is luck.
    """
    error = signed_error(values, comparison, reference)
    if error is None or comparison is None or reference is None:
        return None
    stated = [finite(values.get(name)) or 0.0 for name in (comparison.value_se, comparison.bias) if name]
    return max(abs(error), math.hypot(*stated, reference.se or 0.0))


def cost_of(
    values: Mapping[str, Any], comparison: Comparison | None, reference: ReferenceValue | None
) -> float | None:
    """Return the seconds to a relative error of 5 %, if errors fall with the root of time."""
    score, seconds = score_of(values, comparison, reference), finite(values.get("runtime_sec"))
    if score is None or seconds is None or reference is None or not reference.value:
        return None
    return seconds * (score / (COST_ERROR * abs(reference.value))) ** 2


def violation_of(values: Mapping[str, Any], comparison: Comparison | None) -> float:
    """Return how far the diagnosis of a trial is from ``ok``; 0 where it is, or where there is none."""
    if comparison is None or comparison.violation is None:
        return 0.0
    if values.get("status") in (None, "ok"):
        return 0.0
    found = finite(values.get(comparison.violation))
    return 1.0 if found is None else found  # trials of older versions say that they are not ok, not how far


def finite(value: Any) -> float | None:
    """Return *value* as a float if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats
        return None
    return number if math.isfinite(number) else None


def in_row(row: Mapping[str, Any], name: str) -> Any:
    """Return a further objective from a row of a table of trials.

    A metric may have the name of a column that every table has, ``state`` say: then it is in the struct
    ``metrics``.
    """
    metrics = row.get("metrics")
    return metrics[name] if isinstance(metrics, Mapping) and name in metrics else row.get(name)


def _primary(
    objective: Objective,
    values: Mapping[str, Any],
    comparison: Comparison | None,
    reference: ReferenceValue | None,
) -> float | None:
    if objective.type == "metric":
        return finite(values.get(objective.metric or ""))
    error = signed_error(values, comparison, reference)
    if error is None or comparison is None or reference is None:
        return None
    size, se_ref = abs(error), reference.se or 0.0
    if objective.type == "huber":
        delta = objective.delta or 2.0 * se_ref
        if delta == 0.0:
            return size
        return 0.5 * size**2 / delta if size <= delta else size - 0.5 * delta
    if objective.type == "standardised":
        se = math.hypot(finite(values.get(comparison.value_se)) or 0.0, se_ref)
        return size / se if se > 0 else None
    return size


_COMPUTED = {SCORE: score_of, COST: cost_of}
