"""The progress of a run as a small file, for `watch` on another machine. Nothing is rebuilt from it."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsl_optuna.core.clock import Clock, utc_now
from parsl_optuna.store.atomic import strict, write_bytes

if TYPE_CHECKING:
    from parsl_optuna.study.progress import Snapshot

_EVERY_SEC = 2.0
"""`watch` looks every second; a shared file system need not carry more than a small file in two."""

_logger = logging.getLogger(__name__)


class ProgressFile:
    """Writes snapshots of a run.

    Args:
        path: The file.
        now: The clock.
    """

    def __init__(self, path: Path, now: Clock = time.monotonic) -> None:
        self._path, self._now, self._due = path, now, -math.inf
        self._unwritten: Snapshot | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Write a snapshot if it is time for it."""
        self._unwritten = snapshot
        if self._now() >= self._due:
            self.close()
            self._due = self._now() + _EVERY_SEC

    def close(self) -> None:
        """Write the last snapshot. A disk that does not take it never ends a run."""
        if self._unwritten is None:
            return
        content = json.dumps({"written": utc_now(), **strict(asdict(self._unwritten))}, ensure_ascii=False)
        self._unwritten = None
        try:
            write_bytes(self._path, content.encode(), durable=False)
        except OSError as error:
            _logger.warning("%s", error)


def read(path: Path) -> dict[str, Any] | None:
    """Return the last snapshot with the time of its writing; None where there is none that can be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("studies"), list) else None
