"""Where a trial can save its progress: whole files, named by their content, the newest one counts.

A file is 8 bytes of seconds used so far (little-endian double), then what the task saved.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import time
from collections.abc import Callable
from pathlib import Path

from parsl_optuna.core.clock import Clock
from parsl_optuna.core.errors import Preempted
from parsl_optuna.store.atomic import write_bytes

_PREFIX = "checkpoint-"


class Checkpoint:
    """The saved progress of one trial.

    Args:
        folder: The trial's folder; None keeps nothing.
        every_sec: How often saving is due.
        stopping: Whether the node has to be left; saving is then due at once, and raises.
        now: Monotonic clock.
        source: Folder of a shorter trial, whose last checkpoint is loaded where this trial has none.
        most_bytes: Largest final checkpoint that is kept; 0 keeps none.

    Attributes:
        used_sec: What earlier attempts used until they saved last.
    """

    def __init__(
        self,
        folder: Path | None = None,
        every_sec: float = 60.0,
        stopping: Callable[[], bool] = lambda: False,
        now: Clock = time.monotonic,
        source: Path | None = None,
        most_bytes: int = 0,
    ) -> None:
        self._folder, self._every_sec, self._stopping, self._now = folder, every_sec, stopping, now
        self._started = self._saved_at = now()
        found = self._files()
        self._count = max((_number(path) for path in found), default=0)
        self.used_sec, self._content = _newest(found)
        self._most_bytes, self._is_kept = most_bytes, False
        if self._content is None and source is not None:
            self.used_sec, self._content = _newest(_saved(source))

    def due(self) -> bool:
        """Whether to call `save` now; cheap enough for every step."""
        if self._folder is None:
            return False
        return self._stopping() or self._now() - self._saved_at >= self._every_sec

    def save(self, content: bytes) -> None:
        """Store *content* in place of what was stored before.

        Raises:
            Preempted: The content is stored and the node has to be left.
            StoreError: It cannot be stored.
        """
        if self._folder is None:
            return
        self._write(content)
        self._saved_at = self._now()
        if self._stopping():
            raise Preempted

    def _write(self, content: bytes) -> None:
        assert self._folder is not None
        older = self._files()
        self._count += 1
        content = struct.pack("<d", self.used_sec + self._now() - self._started) + content
        digest = hashlib.sha256(content).hexdigest()[:16]
        write_bytes(self._folder / f"{_PREFIX}{self._count:06d}-{digest}", content)
        _remove(older)

    def keep(self, make: Callable[[], bytes]) -> None:
        """Keep the final checkpoint, for a longer trial to start from; calls *make* only if that is wanted.

        Raises:
            StoreError: It cannot be stored.
        """
        if self._folder is None or not self._most_bytes:
            return
        content = make()
        if len(content) <= self._most_bytes:
            self._write(content)
            self._is_kept = True

    def load(self) -> bytes | None:
        """Return what an earlier attempt saved last; None without such a thing."""
        return self._content

    def clear(self) -> None:
        """Remove all checkpoints but a kept final one; the trial has ended."""
        if self._count and not self._is_kept:
            _remove(self._files())

    def _files(self) -> list[Path]:
        return [] if self._folder is None else _saved(self._folder)


def _remove(files: list[Path]) -> None:
    """Remove files that are no longer needed; one that stays does no harm."""
    with contextlib.suppress(OSError):
        for path in files:
            path.unlink(missing_ok=True)


def _saved(folder: Path) -> list[Path]:
    return list(folder.glob(f"{_PREFIX}*"))


def _newest(files: list[Path]) -> tuple[float, bytes | None]:
    """Return the newest whole file; what a crash left half-written does not carry its digest."""
    for path in sorted(files, key=_number, reverse=True):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if len(content) >= 8 and path.name.endswith(hashlib.sha256(content).hexdigest()[:16]):
            return struct.unpack("<d", content[:8])[0], content[8:]
    return 0.0, None


def _number(path: Path) -> int:
    number = path.name.removeprefix(_PREFIX).split("-")[0]
    return int(number) if number.isdigit() else 0
