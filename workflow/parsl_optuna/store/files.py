"""The working folder of a trial: inputs are linked into it, and what is left in it is kept within limits."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path


def link_inputs(names: Iterable[str], launch: Path, folder: Path) -> None:
    """Link files of the folder where the command was started into a working folder, by the same paths.

    Args:
        names: Paths relative to *launch*; what is no file there, or leads out of it, is passed over.
        launch: The folder in which the command was started.
        folder: The working folder.
    """
    for name in names:
        path = Path(name)
        if not name or path.is_absolute() or ".." in path.parts or not _is_file(launch / path):
            continue
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink() or target.exists():
            continue  # of an earlier attempt
        try:
            target.symlink_to(launch / path)
        except OSError:  # a file system without links
            shutil.copy2(launch / path, target)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that is no path at all
        return False


def settle(folder: Path, keep: Sequence[str], most_mb: float | None) -> list[str]:
    """Remove from a working folder what is not to be kept; the folder itself when nothing is left.

    Args:
        folder: The working folder; need not be there.
        keep: Patterns of paths relative to it, where ``*`` also stands for slashes.
        most_mb: How much is kept in MiB, smaller files first; None keeps all.

    Returns:
        Paths of files that were removed.
    """
    with contextlib.suppress(OSError):
        folder.rmdir()  # most trials leave nothing
    if not folder.is_dir():
        return []
    found = sorted(_files(folder), key=lambda entry: (entry[1], entry[0]))
    removed, left = [], float("inf") if most_mb is None else most_mb * 2**20
    for name, size in found:
        path = folder / name
        if _is_input(path, folder):
            path.unlink(missing_ok=True)
        elif size <= left and any(fnmatch.fnmatchcase(name, pattern) for pattern in keep):
            left -= size
        else:
            path.unlink(missing_ok=True)
            removed.append(name)
    for parent, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # not empty
            Path(parent).rmdir()
    return sorted(removed)


def _is_input(path: Path, folder: Path) -> bool:
    """Whether a path is a link that `link_inputs` made, and not one of the trial's own."""
    if not path.is_symlink():
        return False
    target = path.readlink()
    return target.is_absolute() and not target.is_relative_to(folder)


def _files(folder: Path) -> list[tuple[str, int]]:
    found = []
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]  # noqa: PTH114, PTH118
        for name in names + links:
            path = Path(parent) / name
            with contextlib.suppress(OSError):
                found.append((path.relative_to(folder).as_posix(), path.lstat().st_size))
    return found
