"""Identity: RFC 8785 canonical JSON and the ids hashed from it.

Equal meaning gives equal bytes (key order, ``1`` and ``1.0``), so equal specs share an id.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import rfc8785

from parsl_optuna.core.errors import SpecError

ID_VERSION = 1
"""Bumped when the payload of an id changes meaning; part of every payload."""

ID_HEX_DIGITS = 12


def canonical(payload: Any) -> bytes:
    """Serialise *payload* as RFC 8785 canonical JSON.

    Raises:
        SpecError: A number is not finite or beyond 2**53, or a value has no JSON form.
    """
    try:
        return rfc8785.dumps(payload)
    except (rfc8785.CanonicalizationError, ValueError) as error:
        inexact = without_exact_form(payload)
        if inexact is not None:
            raise SpecError(f"cannot hash {inexact}") from error
        raise SpecError(f"cannot hash {payload!r}: {error}") from error


def without_exact_form(value: Any) -> str | None:
    """Say which number within *value* has no exact form in JSON, and the cure; None if there is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value}: JSON has no such number; write it as a text, '{value}'"
    if isinstance(value, int) and abs(value) >= 2**53:
        return f"{value}: JSON holds whole numbers below 2**53 exactly; write a larger one in quotes"
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, (list, tuple)):
        parts = value
    return next((text for part in parts if (text := without_exact_form(part)) is not None), None)


def digest(kind: str, payload: Mapping[str, Any]) -> str:
    """Hash *payload*, tagged with its *kind*, to 64 hex digits of SHA-256."""
    tagged = {"id_version": ID_VERSION, "kind": kind, "payload": dict(payload)}
    return hashlib.sha256(canonical(tagged)).hexdigest()


def problem_id(task: str, task_version: int, problem: Mapping[str, Any]) -> str:
    """Return ``p_`` + 12 hex digits for a resolved problem."""
    payload = {"task": task, "task_version": task_version, "problem": dict(problem)}
    return "p_" + digest("problem", payload)[:ID_HEX_DIGITS]


def group_id(pids: Sequence[str]) -> str:
    """Return ``g_`` + 12 hex digits for several problems, in any order."""
    return "g_" + digest("group", {"pids": sorted(pids)})[:ID_HEX_DIGITS]


def trial_id(payload: Mapping[str, Any]) -> str:
    """Return ``r_`` + 12 hex digits for the identity part of a manifest."""
    return "r_" + digest("trial", payload)[:ID_HEX_DIGITS]


def derive_seed(*parts: str | int) -> int:
    """Return a 63-bit seed that depends on every part, and on their order."""
    return int(digest("seed", {"parts": [str(part) for part in parts]})[:16], 16) >> 1
