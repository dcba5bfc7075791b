"""Take files that someone changed by hand as they are: check what can be checked, and write a new digest."""

from __future__ import annotations

from pathlib import Path

from parsl_optuna.core.clock import utc_now
from parsl_optuna.core.errors import CorruptArtifact, SpecError
from parsl_optuna.store import checks, document
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.atomic import read_bytes


def accept(store: ArtifactStore, identifier: str) -> list[Path]:
    """Accept the changed files of a problem or trial, and return them.

    ``accepted``, the time, is added to each. What an id is the hash of cannot be accepted: it would be
    another problem or trial.

    Raises:
        SpecError: No such problem or trial, or an edit that contradicts itself.
        CorruptArtifact: The content is no such record, or belongs to another id.
    """
    files = _files(store, identifier)
    if not files:
        raise SpecError(
            f"'{identifier}': no such problem or trial in {store.paths.root}; see parsl-optuna status"
        )
    return [path for path in files if _accepted(path, identifier)]


def _files(store: ArtifactStore, identifier: str) -> list[Path]:
    if identifier in store.problem_ids():
        folder = store.paths.prepared(identifier)
        found = [store.paths.problem(identifier), store.paths.reference(identifier), folder / "prepared.json"]
    else:
        folders = [path for path in store.paths.runs.glob("*/*/*") if path.name == identifier]
        found = [folder / name for folder in folders for name in ("manifest.json", "metrics.json")]
    return [path for path in found if path.exists()]


def _accepted(path: Path, identifier: str) -> bool:
    """Write a changed file anew; False where there is nothing to accept."""
    content = read_bytes(path) or b""
    try:
        document.decoded(path, content)
    except CorruptArtifact:
        pass
    else:
        return False
    data = document.unverified(path, content)
    if path.name == "manifest.json":
        checks.manifest_in(path, data, identifier)
    elif path.name == "metrics.json":
        checks.outcome_in(path, data, identifier)
        checks.check_copies(path, data)
    elif path.name == "problem.json":
        checks.problem_in(path, document.encoded(data), identifier)
    return document.write(path, data | {"accepted": utc_now()})
