"""The record of what happened: one JSON object per line, with its time and the ids it is about.

Advisory: nothing is rebuilt from it, and it may be deleted. A line is one write in append mode, so that lines
of several threads and processes do not mix; a crash can leave a torn last line, which readers skip.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from parsl_optuna.core.clock import utc_now
from parsl_optuna.store.atomic import strict

_MOST_BYTES = 16 * 2**20
"""Size at which the file is set aside, about 80,000 lines. One such file is kept, an older one is dropped."""

_logger = logging.getLogger("parsl_optuna.events")


class Kind(StrEnum):
    """What can happen; the values are the words in the file."""

    COMMAND_STARTED = "command_started"
    COMMAND_ENDED = "command_ended"
    ASKED = "asked"
    QUEUED = "queued"
    STARTED = "started"
    ENDED = "ended"
    RETRIED = "retried"
    PRUNED = "pruned"
    RETIRED = "retired"
    REFERENCE_EXTENDED = "reference_extended"
    STOP_RULE = "stop_rule"
    SAMPLER = "sampler"
    BLOCK_REQUESTED = "block_requested"
    BLOCK_GRANTED = "block_granted"
    BLOCK_LOST = "block_lost"
    BLOCK_RETURNED = "block_returned"
    INTERCHANGE_REPLACED = "interchange_replaced"
    WORKER_REPLACED = "worker_replaced"
    ENGINE_ERROR = "engine_error"


class EventLog:
    """Appends events to a file, and passes them to the logger ``parsl_optuna.events``.

    Args:
        path: The file; None keeps nothing. It is opened by the first event.
        most_bytes: Size at which the file is set aside as ``NAME.1.jsonl``.
    """

    def __init__(self, path: Path | None = None, most_bytes: int = _MOST_BYTES) -> None:
        self._path, self._most_bytes = path, most_bytes
        self._lock = threading.Lock()  # rotation and counting; the writes themselves need none
        self._handle: int | None = None
        self._size = 0

    def add(self, kind: Kind, **details: Any) -> None:
        """Append an event; where that fails, a warning is logged once and the record ends.

        Args:
            kind: What happened.
            details: Plain data: ``trial_id``, ``pid``, ``method``, ``block``, ``reason``, … None is left out.
                ``at`` is the time of an event that was learnt of later than it happened; else it is now.
        """
        known = {name: strict(value) for name, value in details.items() if value is not None}
        if _logger.isEnabledFor(logging.INFO):
            _logger.info("%s", text_of({"event": kind.value, **known}))
        if self._path is None:
            return
        line = json.dumps({"at": utc_now(), "event": kind.value, **known}, ensure_ascii=False) + "\n"
        try:
            with self._lock:
                self._append(self._path, line.encode(errors="replace"))
        except OSError as error:
            _logger.warning("%s: no more events are recorded: %s", self._path, error.strerror)
            self._path = None

    def close(self) -> None:
        """Close the file; a later event opens it again."""
        with self._lock:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def _append(self, path: Path, line: bytes) -> None:
        if self._handle is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._size = os.fstat(self._handle).st_size
            if self._size and os.pread(self._handle, 1, self._size - 1) != b"\n":
                line = b"\n" + line  # ends a torn line
        self._size += os.write(self._handle, line)
        if self._size > self._most_bytes:
            os.close(self._handle)
            self._handle = None
            path.replace(set_aside(path))


class EventReader:
    """Reads the events of a file, the one set aside before it included, then what is added.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._inode = path, 0, 0
        self._older = _lines(set_aside(path), 0)[0]

    def new(self) -> list[dict[str, Any]]:
        """Return the events since the last call, in order; torn and foreign lines are left out."""
        lines, self._older = self._older, []
        with contextlib.suppress(OSError):
            inode = self._path.stat().st_ino
            if self._inode not in (0, inode):  # it was set aside meanwhile: first the rest of that one
                lines += _lines(set_aside(self._path), self._offset)[0]
                self._offset = 0
            self._inode = inode
        added, self._offset = _lines(self._path, self._offset)
        return [event for line in lines + added if (event := _parsed(line)) is not None]


def set_aside(path: Path) -> Path:
    """Return the name under which a full file is kept."""
    return path.with_name(f"{path.stem}.1{path.suffix}")


def text_of(event: Mapping[str, Any]) -> str:
    """Return an event as one line for people, without its time."""
    details = [f"{name}={_word(value)}" for name, value in event.items() if name not in ("at", "event")]
    return "  ".join([str(event.get("event", "?")).replace("_", " "), *details])


def _word(value: Any) -> str:
    if isinstance(value, str):
        return value if value.isprintable() and " " not in value else json.dumps(value, ensure_ascii=False)
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Return the whole lines of a file from an offset on, and where the next one begins."""
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            content = stream.read()
    except OSError:
        return [], offset
    whole = content[: content.rfind(b"\n") + 1]
    return whole.splitlines(), offset + len(whole)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and {"at", "event"} <= event.keys() else None
