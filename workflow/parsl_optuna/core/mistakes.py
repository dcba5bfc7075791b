"""Mistakes in plain data, each with its path, from the exceptions that cattrs raises."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

from parsl_optuna.core.errors import SpecError, nearest


class Several(SpecError):
    """Mistakes in the entries of a list or mapping, each with its path."""

    def __init__(self, mistakes: list[tuple[str, str]]) -> None:
        super().__init__("\n".join(f"{path}: {text}" for path, text in mistakes))
        self.mistakes = mistakes


def mistakes(error: BaseException, path: str = "") -> list[tuple[str, str]]:
    """List (path, message) for every leaf of a cattrs exception group.

    Args:
        error: The group, or a leaf.
        path: Where it was raised; all paths begin with it.
    """
    if isinstance(error, ClassValidationError):
        notes, rest = error.group_exceptions()
        found = [leaf for sub, note in notes for leaf in mistakes(sub, f"{path}.{note.name}")]
        return found + [leaf for sub in rest for leaf in mistakes(sub, path)]
    if isinstance(error, IterableValidationError):
        notes, rest = error.group_exceptions()
        found = [leaf for sub, note in notes for leaf in mistakes(sub, f"{path}[{note.index}]")]
        return found + [leaf for sub in rest for leaf in mistakes(sub, path)]
    if isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in dataclasses.fields(error.cl)]
        return [
            (
                f"{path}.{name}",
                f"unknown key; it belongs into the block '{block}'"
                if (block := block_of(name, error.cl))
                else f"unknown key; {nearest(name, known)}",
            )
            for name in sorted(error.extra_fields, key=str)
        ]
    if isinstance(error, Several):
        return [(f"{path}{below}", text) for below, text in error.mistakes]
    if isinstance(error, KeyError):
        return [(path, "is missing; it has no default")]
    return [(path, str(error))]


def block_of(name: object, record: type[Any]) -> str | None:
    """Return the block of a record in which a key belongs; None where no block has it."""
    for block, kind in get_type_hints(record).items():
        if dataclasses.is_dataclass(kind) and name in {entry.name for entry in dataclasses.fields(kind)}:
            return block
    return None
