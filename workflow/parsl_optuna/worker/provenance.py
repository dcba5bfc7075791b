"""With what a trial ran: versions, the commit of the user's code, the local modules that it imported."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from parsl_optuna import __version__
from parsl_optuna.store.reads import checksum, mark

_ALWAYS = ("optuna", "parsl")
_WHERE_LOADED = ("torch", "numpy", "scipy", "sklearn", "pandas", "jax")
_GIT_SEC = 10.0
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_OWN = os.path.join(Path(__file__).parents[1], "")  # noqa: PTH118


def versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of what a result may depend on."""
    found = {"python": platform.python_version(), "parsl_optuna": __version__}
    names = [*_ALWAYS, *(name for name in _WHERE_LOADED if name in sys.modules)]
    return found | {name: version for name in names if (version := _version(name)) is not None}


@functools.cache
def _version(package: str) -> str | None:
    try:
        return metadata.version("scikit-learn" if package == "sklearn" else package)
    except metadata.PackageNotFoundError:
        return None


commits: dict[str, str | None] = {}
"""What `git_commit` found, by folder: asking git takes longer than a short trial."""


def git_commit(folder: Path) -> str | None:
    """Return the commit that a folder is at, with ``+dirty`` where files differ from it; None without git."""
    name = os.fspath(folder)
    if name not in commits:
        try:
            dirty = _git(folder, "status", "--porcelain", "--untracked-files=no")
            commits[name] = _git(folder, "rev-parse", "HEAD") + ("+dirty" if dirty else "")
        except (OSError, subprocess.SubprocessError):
            commits[name] = None
    return commits[name]


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=_GIT_SEC,
        check=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},  # many workers may ask at once
    )
    return done.stdout.strip()


def local_code(launch: Path, folders: Iterable[Path] = (), files: Iterable[Path] = ()) -> dict[str, str]:
    """Return the checksums of the modules that were imported from the user's folders, by path.

    Args:
        launch: The folder in which the command was started; paths below it are given from there.
        folders: More folders of the user's.
        files: Files that ran in other processes, or that the user's code names.
    """
    roots = [str(launch), *map(str, folders)]
    found = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and is_users(path, roots):
            with contextlib.suppress(OSError):  # removed meanwhile
                found[path.removeprefix(f"{launch}{os.sep}")] = checksum(Path(path))
    for path in files:
        with contextlib.suppress(OSError):
            found[str(path).removeprefix(f"{launch}{os.sep}")] = mark(path)
    return dict(sorted(found.items()))


def is_users(path: str | None, folders: Sequence[str]) -> bool:
    """Whether a module's file lies in one of the user's folders, and is not installed there.

    Works on strings: there are thousands of modules.
    """
    if path is None or path.startswith(_OWN) or any(one in path for one in _INSTALLED):
        return False
    return any(path.startswith(f"{folder}{os.sep}") for folder in folders)


def changed_code(codes: Iterable[Mapping[str, str]], launch: Path) -> list[str]:
    """Return the files that are not what they were when trials ran.

    Nothing is said of a file outside of *launch* that is not on this machine: trials may run on others.

    Args:
        codes: Of each trial, as `attempt` recorded it.
        launch: The folder in which the command was started.
    """
    recorded = {entry for code in codes for entry in code.items()}
    now = {name: _mark(launch / name) for name, _ in recorded}
    gone = {name for name, one in now.items() if one is None and Path(name).is_absolute()}
    return sorted({name for name, one in recorded if now[name] != one} - gone)


def _mark(path: Path) -> str | None:
    try:
        return mark(path)
    except OSError:
        return None
