"""Files of the user's that a problem depends on: found where the command was started, and hashed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from parsl_optuna.core.errors import SpecError, TaskError
from parsl_optuna.store.reads import checksum


def find(name: str) -> Path | None:
    """Return the file *name* in the current folder, in which the command was started; None without it."""
    path = Path.cwd() / name
    try:
        return path if path.is_file() else None
    except (OSError, ValueError):  # too long for a path, or not one
        return None


def relative(path: Path) -> str:
    """Return *path* as it is stored in an id: from the current folder where it lies below it."""
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


def unchanged(name: str, expected: str, launch: Path | None = None) -> Path:
    """Return a file that still is what it was when the run was planned.

    Args:
        name: Its path from *launch*, or absolute.
        expected: Its checksum.
        launch: The folder in which the command was started; None means the current one.

    Raises:
        TaskError: It is gone, or was edited.
    """
    launch = launch or Path.cwd()
    path = launch / name
    if not path.is_file():
        raise TaskError(f"{name}: is not in {launch} any more")
    if checksum(path) != expected:
        raise TaskError(f"{name}: was edited since this run was planned; run the command again")
    return path


def elsewhere(name: str, launch: Path) -> str:
    """Say where a file is that a trial did not find in its own folder; nothing if it is not there either."""
    try:
        if not name or not (launch / name).exists():
            return ""
    except (OSError, ValueError):  # no path at all
        return ""
    return (
        "; trials run in folders of their own, and it is where the command was started: list it under "
        "'files', read it from the folder in PARSL_OPTUNA_LAUNCH_DIR, or set limits: working_folder: launch"
    )


def named(problem: Mapping[str, str], values: Iterable[object]) -> list[str]:
    """Return what may be paths of inputs: the files of a problem, and all values that are texts."""
    return [*problem, *(value for value in values if isinstance(value, str))]
