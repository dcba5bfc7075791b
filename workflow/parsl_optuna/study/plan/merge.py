"""A user's search space laid over a task's default one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.load import structure
from parsl_optuna.core.space import Categorical, Dimension, Float, Int, Scalar, Space, is_among


def merge_space(
    default: Space, changes: Mapping[str, Any], params: Mapping[str, Scalar], where: str
) -> Space:
    """Lay the user's changes over a default space.

    Args:
        default: The task's space.
        changes: ``parameter -> fixed value`` or a mapping with some of ``low``, ``high``, ``log``,
            ``step``, ``choices``, ``ordered``, ``dist`` (``float``, ``int``, ``categorical``), and ``when``:
            other parameters, each with its value or values at which this one is active.
        params: Default hyperparameters; their names are all there are.
        where: File and key, for messages.

    Raises:
        SpecError: Unknown parameter or key, or bounds that make no sense.
    """
    dimensions, fixed, conditions = dict(default.dimensions), dict(default.fixed), dict(default.conditions)
    for name, change in changes.items():
        place = f"{where}.{name}"
        if not str(name).strip():
            raise SpecError(f"{where}: a parameter has the empty name {name!r}; name it")
        if name not in params:
            raise SpecError(f"{place}: unknown parameter; {nearest(name, params)}")
        if isinstance(change, Mapping):
            dimensions[name] = _dimension(dimensions.get(name), change, params[name], place)
            fixed.pop(name, None)
            if "when" in change:
                conditions[name] = _when(change["when"], params, f"{place}.when")
        else:
            dimensions.pop(name, None)
            conditions.pop(name, None)
            fixed[name] = _fixed(change, place)
    return _conditional(dimensions, fixed, conditions, where)


def _when(raw: Any, params: Mapping[str, Scalar], where: str) -> dict[str, tuple[Scalar, ...]]:
    """Return a condition as written: other parameters, each with a value or a list of values."""
    if not isinstance(raw, Mapping) or not raw:
        raise SpecError(
            f"{where}: must be a mapping, such as {{optimizer: sgd}} or {{layers: [2, 3]}}, got {raw!r}"
        )
    found = {}
    for parent, values in raw.items():
        if parent not in params:
            raise SpecError(f"{where}.{parent}: unknown parameter; {nearest(str(parent), params)}")
        listed = values if isinstance(values, list) else [values]
        if not all(isinstance(value, Scalar) for value in listed):
            raise SpecError(f"{where}.{parent}: must be a value or a list of values, got {values!r}")
        found[parent] = tuple(dict.fromkeys(listed))
    return found


def _conditional(
    dimensions: dict[str, Dimension],
    fixed: dict[str, Scalar],
    conditions: Mapping[str, Mapping[str, tuple[Scalar, ...]]],
    where: str,
) -> Space:
    """Return a space; conditions on what is fixed are decided here, and what is never active is left out."""
    left: dict[str, dict[str, tuple[Scalar, ...]]] = {}
    gone: set[str] = set()
    for name in conditions:
        for parent, allowed in conditions[name].items():
            dimension = dimensions.get(parent)
            if parent in fixed:
                if not is_among(fixed[parent], allowed):
                    gone.add(name)
                continue
            left.setdefault(name, {})[parent] = (
                allowed if dimension is None else tuple(map(dimension.stored, allowed))
            )
    try:
        Space(dimensions, {}, left)  # a mistake in what is left out is one, too
    except SpecError as error:
        raise SpecError(f"{where}.{error}") from error
    size = -1
    while size < len(gone):  # what depends on what is gone is gone
        size = len(gone)
        gone |= {name for name, when in left.items() if gone & when.keys()}
    return Space(
        {name: dimension for name, dimension in dimensions.items() if name not in gone},
        fixed,
        {name: when for name, when in left.items() if name not in gone},
    )


def _fixed(value: Any, where: str) -> Scalar:
    if isinstance(value, (list, tuple)):
        raise SpecError(f"{where}: a list is no value; to try each of them, write {{choices: {list(value)}}}")
    if not isinstance(value, Scalar):
        raise SpecError(
            f"{where}: must be bounds {{low, high}}, {{choices}}, or a fixed value, got {value!r}"
        )
    return value


_ELSEWHERE = {
    "min": "low", "max": "high", "values": "choices", "distribution": "dist", "type": "dist", "q": "step",
}  # fmt: skip
"""Words of W&B sweep files and of other tools for keys of a search space."""


@dataclass(frozen=True)
class _Change:
    dist: str | None = None
    low: float | None = None
    high: float | None = None
    log: bool | None = None
    step: float | None = None
    choices: list[Any] | None = None
    ordered: bool = False
    when: Any = None


def _dimension(default: Dimension | None, raw: Mapping[str, Any], value: Scalar, where: str) -> Dimension:
    for name in [name for name in _ELSEWHERE if name in raw]:
        raise SpecError(f"{where}.{name}: is another tool's key; here it is '{_ELSEWHERE[name]}'")
    change = structure(_Change, raw, where)
    kind = change.dist or _kind(default, change, value, raw, where)
    if kind not in ("float", "int", "categorical"):
        hint = "; for a log scale, add log: true" if "log" in kind else ""
        raise SpecError(f"{where}.dist: unknown distribution '{kind}'; known: categorical, float, int{hint}")
    try:
        return _categorical(change) if kind == "categorical" else _numeric(kind, default, change)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from error


def _numeric(kind: str, default: Dimension | None, change: _Change) -> Float | Int:
    numeric = default if isinstance(default, (Float, Int)) else None
    low = change.low if change.low is not None else getattr(numeric, "low", None)
    high = change.high if change.high is not None else getattr(numeric, "high", None)
    if low is None or high is None or change.choices is not None:
        raise SpecError(f"a {kind} needs low and high, and no choices")
    if change.ordered:
        raise SpecError("ordered goes with choices; numbers have an order")
    log = change.log if change.log is not None else bool(getattr(numeric, "log", False))
    step = change.step
    if step is None and not (log and change.log):
        step = getattr(numeric, "step", None)
    if step is not None and low < high < low + step:
        raise SpecError(f"step {step:g} is larger than the range from {low:g} to {high:g}")
    if kind == "float":
        return Float(low, high, log, step)
    if low != int(low) or high != int(high):
        raise SpecError(f"low {low} and high {high} must be whole numbers")
    if step is not None and step != int(step):
        raise SpecError(f"step {step} must be a whole number; for real numbers, add dist: float")
    return Int(int(low), int(high), 1 if step is None else int(step), log)


def _categorical(change: _Change) -> Categorical:
    if change.choices is None:
        raise SpecError("choices is missing")
    for name in ("low", "high", "log", "step"):
        if getattr(change, name) is not None:
            raise SpecError(f"{name} goes with a range, and choices with none; remove one of them")
    for choice in change.choices:
        if not isinstance(choice, Scalar):
            raise SpecError(f"the choice {choice!r} must be a single value, such as a number or a string")
    return Categorical(tuple(change.choices), change.ordered)


def _kind(
    default: Dimension | None, change: _Change, value: Scalar, raw: Mapping[str, Any], where: str
) -> str:
    if change.choices is not None:
        return "categorical"
    if isinstance(default, Float) or (default is None and isinstance(value, float)):
        return "float"
    if change.step is not None and not change.step.is_integer():
        return "int" if isinstance(default, Int) else "float"
    if value is None and default is None:  # nothing is known but how the bounds are written
        written = (raw.get("low"), raw.get("high"))
        return "int" if all(isinstance(bound, int) for bound in written) else "float"
    bounds = (change.low, change.high)
    written = [raw[key] for key in ("low", "high") if isinstance(raw.get(key), float)]
    if default is None and type(value) is int and written and all(one.is_integer() for one in written):
        raise SpecError(
            f"{where}: the bound {written[0]} is written as a real number, and the default {value} is a "
            "whole one; add dist: float or dist: int"
        )
    whole = all(bound is None or float(bound).is_integer() for bound in bounds)
    return "int" if whole and not isinstance(value, float) else "float"
