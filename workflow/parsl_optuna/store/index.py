"""What was read of many trials in one file: a start on thousands need not open every one of them again.

An index holds nothing of its own. An entry counts only while size, time and inode of the file that it was
read from are still the same; an index that is missing, cut short or of another version is none.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from parsl_optuna import __version__
from parsl_optuna.core.errors import StoreError
from parsl_optuna.store.atomic import read_bytes, write_bytes

_VERSION = f"1 {__version__}"
"""Another version of the program may want other records."""

_FEWEST = 100
"""Fewer files than that are read faster than an index is kept."""

Signature = tuple[int, int, int]
"""Size, time of change in ns, and inode of a file."""


class _Entry(NamedTuple):
    signature: Signature
    data: dict[str, Any]


class Index:
    """Contents of files below a folder, read before and verified then.

    Args:
        path: Where it is kept.
        folder: What its entries are named relative to.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._path, self._folder = path, f"{folder}{os.sep}"
        self._entries = _load(path)
        self._is_new = False
        self._read: Signature = (0, 0, 0)

    def get(self, path: Path) -> dict[str, Any] | None:
        """Return what a file holds, or None where it must be read."""
        entry = self._entries.get(self._name(path))
        return entry.data if entry is not None and _current(path) == entry.signature else None

    def read(self, path: Path) -> bytes | None:
        """Read a file, for `add`; None when there is no such file.

        Raises:
            StoreError: It cannot be read.
        """
        try:
            with path.open("rb", buffering=0) as stream:
                self._read = _signature(os.fstat(stream.fileno()))
                return stream.readall()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror}") from error

    def add(self, path: Path, data: dict[str, Any]) -> None:
        """Note what the file holds that was just read, and turned out to be valid."""
        self._entries[self._name(path)] = _Entry(self._read, data)
        self._is_new = True

    def keep(self) -> None:
        """Write the index, if there is anything new to keep and room for it; nothing depends on it."""
        if not self._is_new or len(self._entries) < _FEWEST:
            return
        self._is_new = False
        entries = {
            name: [*entry.signature, entry.data]
            for name, entry in self._entries.items()
            if _current(Path(self._folder + name)) == entry.signature
        }
        content = json.dumps({"version": _VERSION, "entries": entries}).encode()
        with contextlib.suppress(StoreError):
            write_bytes(self._path, content, durable=False)

    def _name(self, path: Path) -> str:
        return str(path).removeprefix(self._folder)


def _current(path: Path) -> Signature | None:
    try:
        return _signature(path.stat())
    except OSError:
        return None


def _signature(found: os.stat_result) -> Signature:
    return found.st_size, found.st_mtime_ns, found.st_ino


def _load(path: Path) -> dict[str, _Entry]:
    try:
        data = json.loads(read_bytes(path) or b"{}")
        if data.get("version") != _VERSION:
            return {}
        return {
            name: _Entry((size, time, inode), content)
            for name, (size, time, inode, content) in data["entries"].items()
        }
    except (StoreError, ValueError, TypeError, KeyError, AttributeError):
        return {}
