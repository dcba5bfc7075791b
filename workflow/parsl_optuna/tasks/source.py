"""Files of the user's that a problem depends on: found from wherever a worker starts, and hashed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from parsl_optuna.core.errors import SpecError, TaskError


def find(name: str) -> Path | None:
    """Return the file *name* in the working folder, or the driver's; None without it.

    Workers inherit the driver's folder as part of PYTHONPATH.
    """
    folders = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    for folder in (Path.cwd(), *map(Path, folders)):
        path = folder / name
        if path.is_file():
            return path
    return None


def checksum(path: Path) -> str:
    """Return the first 16 hex digits of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def relative(path: Path) -> str:
    """Return *path* as it is stored in an id: from the working folder where it lies below it."""
    whole = path.resolve()
    here = Path.cwd().resolve()
    return os.fspath(whole.relative_to(here)) if whole.is_relative_to(here) else os.fspath(whole)


def hashed(name: str, where: str) -> tuple[Path, str]:
    """Return a file and its checksum.

    Raises:
        SpecError: No such file.
    """
    path = find(name)
    if path is None:
        raise SpecError(f"{where}: no file '{name}' in {Path.cwd()}; give its path from there")
    return path, checksum(path)


def unchanged(name: str, expected: str) -> Path:
    """Return a file that still is what it was when the run was planned.

    Raises:
        TaskError: It is gone, or was edited.
    """
    path = find(name)
    if path is None:
        raise TaskError(f"{name}: is not there any more")
    if checksum(path) != expected:
        raise TaskError(f"{name}: was edited since this run was planned; run the command again")
    return path
