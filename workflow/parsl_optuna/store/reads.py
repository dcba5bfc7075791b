"""Which files of the user's a trial reads through Python: its result depends on them, as on its code."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

_MOST = 200
"""Files that are noted; a data set of more changes with some of them."""

_HASHED_BYTES = 2**24
"""To hash more takes longer than a short trial."""

_WRITES = os.O_WRONLY | os.O_RDWR

_SYSTEM = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var")
_INSTALLED = {"site-packages", "dist-packages", "__pycache__"}


def checksum(path: Path) -> str:
    """Return the first 16 hex digits of a file's SHA-256."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def mark(path: Path) -> str:
    """Return what tells whether a file has changed: its checksum, of a large one its size and its time."""
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns}" if found.st_size > _HASHED_BYTES else checksum(path)


class Reads:
    """The files that were opened for reading, each with its mark (`mark`) when it was first opened.

    What the trial wrote itself is no input. Left out is also what belongs to Python, to this package, to the
    system or to temporary folders, everything of the artifacts but the inputs in the working folder, and what
    threads open that ran before: inline, the driver's.

    Args:
        launch: The folder in which the command was started; files below it are named from there.
        folder: The trial's working folder; a file there is an input if *launch* has it too.
        root: The artifacts.
    """

    def __init__(self, launch: Path, folder: Path | None, root: Path) -> None:
        self._launch, self._root = _real(launch), _real(root)
        self._folder = None if folder is None else _real(folder)
        python = (sys.prefix, sys.base_prefix, os.fspath(Path(__file__).parents[1]))
        self._python = tuple(map(_real, python))
        self._elsewhere = tuple(map(_real, (*_SYSTEM, tempfile.gettempdir())))
        self._read: dict[str, str] = {}
        self._written: set[str] = set()
        self._busy = threading.local()
        self._engines = {one.ident for one in threading.enumerate()} - {threading.get_ident()}

    def among(self, others: Mapping[str, str]) -> dict[str, str]:
        """Return the marks of what was read, and *others* unless the trial wrote to them; by name."""
        found = {**others, **self._read}
        return {name: mark for name, mark in sorted(found.items()) if name not in self._written}

    def opened(self, path: object, flags: int) -> None:
        """Take that a file is about to be opened; never raises, as it would in the user's code."""
        if getattr(self._busy, "now", False) or not isinstance(path, (str, bytes)):
            return
        if threading.get_ident() in self._engines:
            return
        self._busy.now = True  # to read the file opens it
        try:
            with contextlib.suppress(Exception):
                self._note(_real(os.fsdecode(path)), is_writing=bool(flags & _WRITES))
        finally:
            self._busy.now = False

    def _note(self, path: str, *, is_writing: bool) -> None:
        name = self._name(path)
        if name is None or (name in self._read and not is_writing):
            return
        if is_writing:
            self._written.add(name)
        elif len(self._read) < _MOST and os.path.isfile(path):  # noqa: PTH113
            self._read[name] = mark(Path(path))

    def _name(self, path: str) -> str | None:
        """Return how a file is called in the record; None where it is none of the user's inputs."""
        if self._folder not in (None, self._launch) and _is_below(path, str(self._folder)):
            name = os.path.relpath(path, self._folder)
            return name if os.path.exists(os.path.join(self._launch, name)) else None  # noqa: PTH110, PTH118
        parts = Path(path).parts
        if _INSTALLED.intersection(parts) or any(_is_below(path, one) for one in (self._root, *self._python)):
            return None
        if _is_below(path, self._launch):
            return os.path.relpath(path, self._launch)
        is_foreign = any(_is_below(path, one) for one in self._elsewhere)
        return None if is_foreign or any(part.startswith(".") for part in parts) else path


_current: Reads | None = None


@contextlib.contextmanager
def noted(reads: Reads | None) -> Iterator[None]:
    """Have *reads* take what is opened meanwhile; None: the engine's own doing is no input."""
    global _current
    _watch()
    former, _current = _current, reads
    try:
        yield
    finally:
        _current = former


def _hook(event: str, args: tuple[object, ...]) -> None:
    if event == "open" and _current is not None:
        _current.opened(args[0], args[2] if isinstance(args[2], int) else 0)


_is_watching = False


def _watch() -> None:
    global _is_watching
    if not _is_watching:
        sys.addaudithook(_hook)
        _is_watching = True


def _real(path: str | Path) -> str:
    return os.path.realpath(path)


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder if folder.endswith(os.sep) else f"{folder}{os.sep}")
