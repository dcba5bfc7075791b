"""Records to plain data and back, across versions of the program.

A field that the data lacks takes its default; a key that the record lacks is kept in ``unknown`` and written
again. A type is never coerced: a changed value is an error that names its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Self, get_origin, get_type_hints

import cattrs
from cattrs.errors import ClassValidationError

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.load import strict_converter
from parsl_optuna.core.mistakes import mistakes
from parsl_optuna.core.space import Scalar

Timestamp = Annotated[str, "ISO 8601"]
"""A time as text; checked when it is read."""


@dataclass(frozen=True)
class Record:
    """Base of every record on disk.

    Attributes:
        unknown: Keys that a newer version of the program wrote, kept as they are.
    """

    unknown: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, the unknown keys included."""
        data = {name: _plain(getattr(self, name)) for name in names(type(self))}
        return data | dict(self.unknown)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read plain data.

        Raises:
            SpecError: A key without default is missing, or a value has another type; names the key.
        """
        own = names(cls)
        known = {name: data[name] for name in own if name in data}
        known["unknown"] = {name: value for name, value in data.items() if name not in own}
        for name in _times(cls):
            if name in known:
                _check_time(name, known[name])
        try:
            return _CONVERTER.structure(known, cls)
        except ClassValidationError as error:
            path, text = mistakes(error)[0]
            raise SpecError(f"{path.removeprefix('.')}: {text}") from error


@cache
def names(cls: type[Record]) -> tuple[str, ...]:
    """Return the keys of a record, in order."""
    return tuple(one.name for one in fields(cls) if one.name != "unknown")


@cache
def _times(cls: type[Record]) -> tuple[str, ...]:
    """Return the keys whose values are times; cattrs drops what `Annotated` adds to a type."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple(name for name in names(cls) if hints[name] == Timestamp)


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, StrEnum):
        return value.value
    return dict(value) if isinstance(value, Mapping) else value


def _check_time(name: str, value: object) -> None:
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        raise SpecError(f"{name}: must be a time in ISO 8601, got {value!r}") from None


def _enum(value: object, kind: type[StrEnum]) -> StrEnum:
    try:
        return kind(value)
    except ValueError:
        raise SpecError(f"unknown value {value!r}; {nearest(str(value), map(str, kind))}") from None


def _scalar(value: object, _: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise SpecError(f"must be a number, a string, true, false or null, got {value!r}")


def _mapping(kind: Any, converter: cattrs.Converter) -> Any:
    inner = kind.__args__[1]
    structured = None if inner is Any else converter.get_structure_hook(inner)

    def hook(value: object, _: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise SpecError(f"must be an object, got {value!r}")
        if structured is None:
            return dict(value)
        found = {}
        for key, entry in value.items():
            try:
                found[key] = structured(entry, inner)
            except SpecError as error:
                raise SpecError(f"{key}: {error}") from error
        return found

    return hook


def _build_converter() -> cattrs.Converter:
    converter = strict_converter(forbid_extra_keys=False)
    converter.register_structure_hook_func(lambda kind: kind == Scalar, _scalar)
    converter.register_structure_hook_factory(lambda kind: get_origin(kind) is Mapping, _mapping)
    converter.register_structure_hook(StrEnum, _enum)
    return converter


_CONVERTER = _build_converter()
