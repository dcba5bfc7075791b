"""What a running trial reports, a line per step, and the request that it stop.

Appended and not replaced: a crash can leave a torn last line, which readers skip, and a trial that goes
on from a checkpoint repeats steps, of which the last one counts. A line is step, metrics and a checksum.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from parsl_optuna.core.errors import StoreError
from parsl_optuna.store import document
from parsl_optuna.store.atomic import strict, writing


class Report(NamedTuple):
    """One report: the step it belongs to, and metrics by name."""

    step: int
    metrics: dict[str, Any]


class Reporter:
    """Appends the reports of one trial.

    Args:
        path: The file; None keeps nothing.
        fresh: Whether the trial starts anew; what earlier attempts reported is then removed.
        before: Reports of the shorter trial that this one extends; copied first.

    Attributes:
        last: The newest metrics of this attempt.
    """

    def __init__(self, path: Path | None = None, *, fresh: bool = True, before: Path | None = None) -> None:
        self._path = path
        self.last: dict[str, Any] = {}
        if path is not None and before is not None and not path.exists():
            for step, metrics in reports(before):
                self.report(step, metrics)
        if path is not None and path.exists():
            if fresh:
                with writing(path):
                    path.unlink()
            else:
                self.last = reports(path)[-1].metrics if reports(path) else {}
                self._append(b"\n")  # ends a torn line

    def report(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Add a report.

        Raises:
            StoreError: It cannot be written.
        """
        self.last = dict(metrics)
        if self._path is not None:
            begun = json.dumps([step, strict(self.last)], allow_nan=False)[:-1].encode()
            self._append(begun + b", %d]\n" % zlib.crc32(begun))

    def _append(self, content: bytes) -> None:
        assert self._path is not None
        with writing(self._path), self._path.open("ab") as stream:
            stream.write(content)


class Reader:
    """Reads what was added since the last time."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def new(self) -> list[Report]:
        """Return the reports added since the last call; none while there is no file."""
        try:
            with self._path.open("rb") as stream:
                if stream.seek(0, 2) < self._offset:
                    self._offset = 0  # the trial started anew
                stream.seek(self._offset)
                content = stream.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be read: {error.strerror}") from error
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [report for line in whole.splitlines() if (report := _parsed(line)) is not None]


def reports(path: Path) -> list[Report]:
    """Return all reports of a trial by step; of a step that was repeated the last one."""
    by_step = {report.step: report for report in Reader(path).new()}
    return [by_step[step] for step in sorted(by_step)]


def ask_to_stop(path: Path, reason: str) -> None:
    """Ask for a trial to be pruned."""
    document.write(path, {"reason": reason})


def stop_reason(path: Path) -> str | None:
    """Return why a trial is to be pruned; None while it is not."""
    data = document.read(path)
    return None if data is None else str(data.get("reason"))


def _parsed(line: bytes) -> Report | None:
    """Return the report of a line; None of a torn or changed one. Lines of form 1 have no checksum."""
    try:
        step, metrics, *checksum = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    if checksum and checksum != [zlib.crc32(line.rpartition(b", ")[0])]:
        return None
    is_report = type(step) is int and isinstance(metrics, dict)
    return Report(step, metrics) if is_report else None
