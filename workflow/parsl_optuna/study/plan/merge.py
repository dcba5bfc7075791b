"""A user's search space laid over a task's default one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.load import structure
from parsl_optuna.core.space import Categorical, Dimension, Float, Int, Scalar, Space


def merge_space(
    default: Space, changes: Mapping[str, Any], params: Mapping[str, Scalar], where: str
) -> Space:
    """Lay the user's changes over a default space.

    Args:
        default: The task's space.
        changes: ``parameter -> fixed value`` or a mapping with some of ``low``, ``high``, ``log``,
            ``step``, ``choices`` (and optionally ``dist: float|int|categorical``).
        params: Default hyperparameters; their names are all there are.
        where: File and key, for messages.

    Raises:
        SpecError: Unknown parameter or key, or bounds that make no sense.
    """
    dimensions, fixed = dict(default.dimensions), dict(default.fixed)
    for name, change in changes.items():
        place = f"{where}.{name}"
        if name not in params:
            raise SpecError(f"{place}: unknown parameter; {nearest(name, params)}")
        if isinstance(change, Mapping):
            dimensions[name] = _dimension(dimensions.get(name), change, params[name], place)
            fixed.pop(name, None)
        else:
            dimensions.pop(name, None)
            fixed[name] = _fixed(change, place)
    return Space(dimensions, fixed)


def _fixed(value: Any, where: str) -> Scalar:
    if isinstance(value, (list, tuple)):
        raise SpecError(f"{where}: a list is no value; to try each of them, write {{choices: {list(value)}}}")
    return value


_ELSEWHERE = {"min": "low", "max": "high", "values": "choices", "distribution": "dist"}
"""Words of W&B sweep files for keys of a search space."""


@dataclass(frozen=True)
class _Change:
    dist: str | None = None
    low: float | None = None
    high: float | None = None
    log: bool | None = None
    step: int | None = None
    choices: list[Any] | None = None


def _dimension(default: Dimension | None, raw: Mapping[str, Any], value: Scalar, where: str) -> Dimension:
    for name in [name for name in _ELSEWHERE if name in raw]:
        raise SpecError(f"{where}.{name}: is a key of W&B sweep files; here it is '{_ELSEWHERE[name]}'")
    change = structure(_Change, raw, where)
    kind = change.dist or _kind(default, change, value, raw)
    if kind not in ("float", "int", "categorical"):
        hint = "; for a log scale, add log: true" if "log" in kind else ""
        raise SpecError(f"{where}.dist: unknown distribution '{kind}'; known: categorical, float, int{hint}")
    try:
        if kind == "categorical":
            if change.choices is None:
                raise SpecError("choices is missing")
            return _categorical(change.choices)
        numeric = default if isinstance(default, (Float, Int)) else None
        low = change.low if change.low is not None else getattr(numeric, "low", None)
        high = change.high if change.high is not None else getattr(numeric, "high", None)
        if low is None or high is None or change.choices is not None:
            raise SpecError(f"a {kind} needs low and high, and no choices")
        log = change.log if change.log is not None else bool(getattr(numeric, "log", False))
        if kind == "float":
            if change.step is not None:
                raise SpecError("step goes with whole numbers; use choices for a grid of others")
            return Float(low, high, log)
        if low != int(low) or high != int(high):
            raise SpecError(f"low {low} and high {high} must be whole numbers")
        step = change.step if change.step is not None else (1 if log else getattr(numeric, "step", 1))
        if low < high < low + step:
            raise SpecError(f"step {step} is larger than the range from {low:g} to {high:g}")
        return Int(int(low), int(high), step, log)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from error


def _categorical(choices: list[Any]) -> Categorical:
    for choice in choices:
        if not isinstance(choice, Scalar):
            raise SpecError(f"the choice {choice!r} must be a single value, such as a number or a string")
    return Categorical(tuple(choices))


def _kind(default: Dimension | None, change: _Change, value: Scalar, raw: Mapping[str, Any]) -> str:
    if change.choices is not None:
        return "categorical"
    if isinstance(default, Float) or (default is None and isinstance(value, float)):
        return "float"
    if value is None and default is None:  # nothing is known but how the bounds are written
        written = (raw.get("low"), raw.get("high"))
        return "int" if all(isinstance(bound, int) for bound in written) else "float"
    bounds = (change.low, change.high)
    whole = all(bound is None or float(bound).is_integer() for bound in bounds)
    return "int" if whole and not isinstance(value, float) else "float"
