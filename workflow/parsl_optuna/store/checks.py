"""From a document to the record that its place promises; what does not fit is one line with the cure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from parsl_optuna.core import ids
from parsl_optuna.core.codec import names
from parsl_optuna.core.errors import CorruptArtifact, SpecError
from parsl_optuna.core.records import Asked, Manifest, Outcome, ReferenceValue, outcome_of_form_1
from parsl_optuna.store import document

MANIFEST_CURE = "delete its folder to have the trial run again"
OUTCOME_CURE = "delete it to have the trial run again"
_REMADE = "delete it to have it made again"


def problem_in(path: Path, content: bytes, pid: str) -> dict[str, Any]:
    """Return the problem ``{task, task_version, problem, label}`` that a file holds.

    Raises:
        CorruptArtifact: Changed or malformed, or its content does not hash to *pid*.
    """
    data = document.decoded(path, content)
    try:
        actual = _problem_id(path, content)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptArtifact(f"{path}: not a problem ({_said(error)}); {_REMADE}") from error
    if actual != pid:
        raise CorruptArtifact(f"{path}: {_other(actual, pid)}")
    return data


def manifest_in(path: Path, data: Mapping[str, Any], trial_id: str) -> tuple[Manifest, Asked]:
    """Return the manifest in a document.

    Raises:
        CorruptArtifact: Malformed, or it does not hash to *trial_id*.
    """
    own = {name: value for name, value in data.items() if name not in {"schema", "trial_id", "asked"}}
    try:
        manifest = Manifest.from_json(own)
        asked = Asked.from_json(_object(data["asked"]))
        actual = manifest.trial_id
    except (KeyError, SpecError) as error:
        raise CorruptArtifact(
            f"{path}: not a manifest ({_said(error)}); restore it, or {MANIFEST_CURE}"
        ) from error
    if actual != trial_id:
        newer = manifest.unknown.keys() - document.OWN_KEYS
        hint = f"; a newer version may have written it, with {', '.join(sorted(newer))}" if newer else ""
        raise CorruptArtifact(f"{path}: {_other(actual, trial_id)}{hint}")
    return manifest, asked


def outcome_in(path: Path, data: Mapping[str, Any], trial_id: str) -> Outcome:
    """Return the outcome in a document.

    Raises:
        CorruptArtifact: Malformed, or the outcome of another trial.
    """
    try:
        plain = outcome_of_form_1(data) if data["schema"] == 1 else _without_copies(data)
        outcome = Outcome.from_json(plain)
    except SpecError as error:
        raise CorruptArtifact(f"{path}: not an outcome ({error}); restore it, or {OUTCOME_CURE}") from error
    if outcome.trial_id != trial_id:
        raise CorruptArtifact(f"{path}: belongs to the trial {outcome.trial_id}; delete it to run this one")
    return outcome


def reference_in(path: Path, data: Mapping[str, Any], pid: str, value: str, se: str) -> ReferenceValue:
    """Return the reference value in a document, whose value is under the keys *value* and *se*.

    Raises:
        CorruptArtifact: Malformed, or the reference of another problem.
    """
    if data.get("pid", pid) != pid:
        raise CorruptArtifact(f"{path}: belongs to the problem {data['pid']}; delete it to make this one")
    keys = {"value": value, "se": se} | {key: key for key in ("status", "status_reason", "trial_id")}
    try:
        return ReferenceValue.from_json({field: data[key] for field, key in keys.items()})
    except (KeyError, SpecError) as error:
        raise CorruptArtifact(f"{path}: not a reference ({_said(error)}); {_REMADE}") from error


def with_copies(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as its file has it: numbers and strings among the metrics also stand at top level.

    They are for people and other programs, where their names are free; only those below ``metrics`` are read.
    """
    data = outcome.to_json()
    copies = {name: value for name, value in outcome.metrics.items() if _is_scalar(value)}
    return {**data, **copies, **data}


def check_copies(path: Path, data: Mapping[str, Any]) -> None:
    """Refuse an edited outcome in which a metric and its copy at top level differ.

    Raises:
        SpecError: They differ; names the metric.
    """
    for name, value in data.get("metrics", {}).items():
        copy = data.get(name, value)
        if name not in names(Outcome) and copy != value:
            raise SpecError(
                f"{path}: {name} is {copy!r} at top level and {value!r} below 'metrics', which counts; "
                "make both the same"
            )


@lru_cache(maxsize=64)  # a worker reads the same problem with every trial
def _problem_id(path: Path, content: bytes) -> str:
    data = document.decoded(path, content)
    if not isinstance(data["label"], str):
        raise SpecError(f"label: must be a string, got {data['label']!r}")
    return ids.problem_id(data["task"], data["task_version"], data["problem"])


def _without_copies(data: Mapping[str, Any]) -> dict[str, Any]:
    metrics = data.get("metrics")
    copied = metrics if isinstance(metrics, dict) else {}
    own = names(Outcome)
    return {
        name: value
        for name, value in data.items()
        if name in own or (name != "schema" and (name not in copied or copied[name] != value))
    }


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(f"asked: must be an object, got {value!r}")
    return value


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _other(actual: str, expected: str) -> str:
    return f"its content has the id {actual}, not {expected} (edited, or a collision)"


def _said(error: Exception) -> str:
    return f"key {error} is missing" if isinstance(error, KeyError) else str(error)
