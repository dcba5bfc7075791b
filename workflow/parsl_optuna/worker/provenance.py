"""With what a trial ran: versions, the commit of the user's code, the local modules that it imported."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from parsl_optuna import __version__
from parsl_optuna.tasks import source

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


def local_code(launch: Path, folders: Iterable[Path] = ()) -> dict[str, str]:
    """Return the checksums of the modules that were imported from the user's folders, by path.

    Args:
        launch: The folder in which the command was started; paths below it are given from there.
        folders: More folders of the user's.
    """
    here = os.path.join(launch, "")  # noqa: PTH118  a string: there are thousands of modules
    roots = (here, *(os.path.join(folder, "") for folder in folders))  # noqa: PTH118
    found = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if not isinstance(path, str) or not path.startswith(roots) or path.startswith(_OWN):
            continue
        if not any(folder in path for folder in _INSTALLED) and os.path.isfile(path):  # noqa: PTH113
            found[path.removeprefix(here)] = source.checksum(Path(path))
    return dict(sorted(found.items()))
