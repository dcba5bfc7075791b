"""From the metrics of a trial to the numbers that a search minimises. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.records import Comparison, Trusted

Kind = Literal["abs", "huber", "standardised", "metric"]


@dataclass(frozen=True)
class Objective:
    """What a study minimises first.

    Attributes:
        type: ``abs`` |x|; ``huber`` x^2/(2 delta) up to delta, then |x| - delta/2; ``standardised``
            |x| / sqrt(se^2 + se_ref^2), for x = estimate - reference; ``metric`` a metric itself.
        delta: Of ``huber``; null is twice the reference's standard error.
        metric: Of ``metric``; null is the task's own.
        goal: ``maximize`` turns the sign of ``metric``.
    """

    type: Kind = "abs"
    delta: float | None = None
    metric: str | None = None
    goal: Literal["minimize", "maximize"] = "minimize"

    def __post_init__(self) -> None:
        if self.delta is not None and not self.delta > 0:
            raise SpecError(f"delta {self.delta} must be above 0")
        if self.goal == "maximize" and self.type != "metric":
            raise SpecError("goal maximize goes with type metric; an error is always minimized")


ERROR = "error"
"""The name of the first objective in a list of several."""


def evaluate(
    objective: Objective,
    names: tuple[str, ...],
    values: Mapping[str, Any],
    comparison: Comparison | None,
    trusted: Trusted | None,
) -> dict[str, float | None]:
    """Compute every objective of a trial, by name; None where it is undefined.

    Args:
        objective: What ``error`` means.
        names: The objectives: ``error`` or any metric, ``runtime_sec`` included.
        values: The trial's metrics and ``runtime_sec``.
        comparison: Which metrics are compared; None for a task without reference.
        trusted: The reference; None without one.
    """
    found = {}
    for name in names:
        if name == ERROR:
            found[name] = _primary(objective, values, comparison, trusted)
        else:
            found[name] = finite(values.get(name))
    return found


def evaluate_asked(
    asked: Mapping[str, Any],
    values: Mapping[str, Any],
    comparison: Comparison | None,
    trusted: Trusted | None,
) -> dict[str, float | None]:
    """Compute objectives as plain data asks for: fields of `Objective`, and their names under ``names``."""
    spec = dict(asked)
    names = tuple(spec.pop("names", (ERROR,)))
    return evaluate(Objective(**spec), names, values, comparison, trusted)


def signed_error(
    values: Mapping[str, Any], comparison: Comparison | None, trusted: Trusted | None
) -> float | None:
    """Return estimate - reference; None where either is missing."""
    if comparison is None or trusted is None or trusted.value is None:
        return None
    value = finite(values.get(comparison.value))
    return None if value is None else value - trusted.value


def finite(value: Any) -> float | None:
    """Return *value* as a float if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _primary(
    objective: Objective,
    values: Mapping[str, Any],
    comparison: Comparison | None,
    trusted: Trusted | None,
) -> float | None:
    if objective.type == "metric":
        value = finite(values.get(objective.metric or ""))
        return -value if value is not None and objective.goal == "maximize" else value
    error = signed_error(values, comparison, trusted)
    if error is None or comparison is None or trusted is None:
        return None
    size, se_ref = abs(error), trusted.se or 0.0
    if objective.type == "huber":
        delta = objective.delta or 2.0 * se_ref
        if delta == 0.0:
            return size
        return 0.5 * size**2 / delta if size <= delta else size - 0.5 * delta
    if objective.type == "standardised":
        se = math.hypot(finite(values.get(comparison.value_se)) or 0.0, se_ref)
        return size / se if se > 0 else None
    return size
