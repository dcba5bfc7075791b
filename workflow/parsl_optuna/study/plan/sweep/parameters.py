"""The block ``parameters`` of a sweep file: nested to any depth, flattened. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parsl_optuna.core.errors import Mistakes, SpecError
from parsl_optuna.core.load import is_text_in_1_1, scalar_1_2
from parsl_optuna.study.plan.sweep.distributions import Distribution, parse

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_NUMBERS = ("min", "max", "q", "mu", "sigma", "a", "b")


@dataclass(frozen=True)
class Inherited:
    """A value that another sweep is to give: what its best configuration has, problem by problem.

    Attributes:
        folder: Its results folder.
        name: Of the parameter, flat.
    """

    folder: str
    name: str


@dataclass
class Parameters:
    """Parameters of a sweep.

    Attributes:
        flat: By flat name, parts of a nested one being ``outer.inner``; in the order of a grid.
        nested: Flat name of a nested one -> names of its parts.
        notes: What people should know, a line each.
    """

    flat: dict[str, Distribution] = field(default_factory=dict)
    nested: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_parameters(raw: Any, where: str, mistakes: Mistakes) -> Parameters:
    """Read the block.

    Args:
        raw: The block, plain data.
        where: File and key, for messages.
        mistakes: Gets every mistake, with its place; what is returned lacks those parameters.
    """
    found = Parameters()
    if not isinstance(raw, Mapping) or not raw:
        hint = "such as {lr: {min: 0.0, max: 1.0}}"
        mistakes.add(f"{where}: must be a mapping with at least one parameter, {hint}")
        return found
    _read_level(raw, "", where, found, mistakes)
    odd = [name for name in raw if not _NAME.fullmatch(str(name))]
    if odd:
        found.notes.append(
            f"W&B warns of the names {', '.join(map(str, odd))}; they are passed on as they are"
        )
    texts = [name for name, one in found.flat.items() if any(map(_is_exponent, one.values))]
    if texts:
        found.notes.append(
            f"{', '.join(texts)}: a number such as 1e-3 without a point is text in YAML 1.1; "
            "programs get the text, as at W&B (1.0e-3 is a number)"
        )
    return found


def _read_level(
    raw: Mapping[Any, Any], prefix: str, where: str, found: Parameters, mistakes: Mistakes
) -> None:
    for name in raw:
        if not isinstance(name, str):
            mistakes.add(f"{where}: a name is {name!r} in YAML 1.1; quote it")
    for name, entry in sorted((key, value) for key, value in raw.items() if isinstance(key, str)):
        place, flat = f"{where}.{name}", f"{prefix}{name}"
        with mistakes:
            _check_plain(entry, place)
            if flat in found.flat or flat in found.nested:
                raise SpecError(f"{place}: two parameters are called {flat} here; rename one")
            if isinstance(entry, Mapping) and "parameters" in entry:
                _read_nested(entry, flat, place, found, mistakes)
            elif isinstance(entry, Mapping) and set(entry) == {"from"}:
                found.flat[flat] = Distribution("inherited", (Inherited(str(entry["from"]), flat),))
            else:
                found.flat[flat] = _note_exponents(flat, parse(_numbers(entry, place, found), place), found)


def _read_nested(
    entry: Mapping[Any, Any], flat: str, place: str, found: Parameters, mistakes: Mistakes
) -> None:
    inner = entry["parameters"]
    others = sorted(str(key) for key in entry if key != "parameters")
    if others:
        raise SpecError(f"{place}: {others[0]} does not go with parameters; a nested one has nothing else")
    if not isinstance(inner, Mapping) or not inner:
        raise SpecError(f"{place}.parameters: must be a mapping with at least one parameter")
    found.nested[flat] = sorted(str(key) for key in inner)
    _read_level(inner, f"{flat}.", f"{place}.parameters", found, mistakes)


def _check_plain(entry: Any, place: str) -> None:
    """Refuse what JSON, by which W&B hands parameters on, does not have."""
    try:
        json.dumps(entry)
    except TypeError as error:
        kind = str(error).split(" ")[3] if str(error).startswith("Object of type") else "value of this type"
        raise SpecError(f"{place}: holds a {kind}, which is no JSON; quote it") from error
    except ValueError as error:
        raise SpecError(f"{place}: refers to itself") from error


def _numbers(entry: Any, place: str, found: Parameters) -> Any:
    """Read texts where numbers must be as numbers, and say so: W&B refuses them."""
    if not isinstance(entry, Mapping):
        return entry
    changed = dict(entry)
    for key in _NUMBERS:
        if _is_number_text(entry.get(key)):
            changed[key] = scalar_1_2(entry[key])
            found.notes.append(
                f"{place.rpartition('$.')[2]}.{key}: '{entry[key]}' is text in YAML 1.1, which W&B refuses; "
                f"read as the number {changed[key]:g}"
            )
    return changed


def _is_number_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    number = scalar_1_2(value)
    return isinstance(number, (int, float)) and not isinstance(number, bool)


def _is_exponent(value: Any) -> bool:
    """Whether a text is a number that YAML 1.1 alone takes for none; another was put in quotes on purpose."""
    return _is_number_text(value) and is_text_in_1_1(value)


def _note_exponents(name: str, one: Distribution, found: Parameters) -> Distribution:
    """Say what bounds of a log scale mean where they look like values."""
    if one.name in ("log_uniform", "q_log_uniform") and one.numbers["min"] > 0:
        low, high = (math.exp(one.numbers[key]) for key in ("min", "max"))
        found.notes.append(
            f"{name}: {one.name} takes exponents, so it lies in [{low:.4g}, {high:.4g}]; "
            f"{one.name}_values takes the values themselves"
        )
    return one
