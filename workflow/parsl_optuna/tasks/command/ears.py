"""Takes in what a program reports: lines of JSON on its stdout, or in files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from parsl_optuna.core.objective import finite
from parsl_optuna.tasks.base import Metrics, Work

_MOST_LINE = 1 << 20
"""A longer line is no report of metrics; it is passed over without being kept."""

_LAST_BYTES = 4096
"""So much of what was read of a file is compared, to see whether the file was written anew."""

_COLOUR = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")  # ECMA-48, 5.4: control sequences
_MARK = b"\xef\xbb\xbf"  # of UTF-8, at the beginning of a file
_ADVICE = 'print a line of JSON like {"loss": 0.5}, or call wandb.log'


class Lines:
    """Cuts what comes in pieces into lines, in time that is linear whatever the lines' lengths."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> Iterator[bytes]:
        """Take a piece; yield the lines that it ends."""
        first, *others = chunk.split(b"\n")
        self._keep(first)
        if others:
            yield self.rest()
            yield from (line for line in others[:-1] if len(line) <= _MOST_LINE)
            self._keep(others[-1])

    def rest(self) -> bytes:
        """Return the line that has not ended, and forget it; empty if it is too long."""
        line = b"".join(self._parts) if self._size <= _MOST_LINE else b""
        self._parts, self._size = [], 0
        return line

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= _MOST_LINE:
            self._parts.append(part)
        else:
            self._parts = []


class Ears:
    """Takes in what a program reports, from wherever it does.

    What is logged with wandb is what counts of a metric, whatever else is printed under its name; and what
    disabled runs log, as those of all ranks but the first do, counts only where no other run logs.

    Args:
        work: The run.
        files: Files of JSON lines that the program appends to.

    Attributes:
        metrics: The newest value of each metric, or the best one where the problem says so.
        hint: What to do where there are none.
    """

    def __init__(self, work: Work, files: Sequence[Path]) -> None:
        self._work, self._steps = work, 0
        self._best: Mapping[str, str] = work.problem.get("best", {})
        self._files = [_Tail(path) for path in files]
        self.metrics: Metrics = {}
        self.hint = _ADVICE
        self._unread: dict[str, str] = {}
        self._logged: set[str] = set()
        self._is_logging = False
        """Whether a run of wandb that is not disabled has logged."""

    def line(self, text: bytes) -> None:
        """Take a line that may be a JSON object."""
        if b"{" not in text:  # most lines of a program that prints much
            return
        text = _COLOUR.sub(b"", text).removeprefix(_MARK).strip()
        if not text.startswith(b"{"):
            return
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            self.hint = f"a line that begins like JSON is none: {why}"
            names = [name for name in self.metrics if f'"{name}"'.encode() in text]
            self._unread |= dict.fromkeys(set(names) - self._logged, why)
            return
        is_disabled = data.pop("_disabled", False)
        summary = data.pop("_summary", None)
        if isinstance(summary, dict) or "_step" in data:
            if is_disabled and self._is_logging:
                return
            self._note_logged(summary if isinstance(summary, dict) else data, is_disabled=is_disabled)
        else:
            data = {name: value for name, value in data.items() if name not in self._logged}
        if isinstance(summary, dict):  # what wandb's summary says in the end; no step of its own
            self.metrics |= {name: value for name, value in summary.items() if name not in self._best}
            return
        self._unread = {name: why for name, why in self._unread.items() if name not in data}
        self._steps += 1
        step = data.pop("_step", data.get("step"))
        self.metrics |= {name: self._kept(name, value) for name, value in data.items()}
        self._work.report(step if type(step) is int else self._steps, data)

    def _note_logged(self, data: Mapping[str, Any], *, is_disabled: bool) -> None:
        """Drop what was heard of metrics before from a source that counts less."""
        dropped = set(data) - self._logged
        if not is_disabled and not self._is_logging:
            dropped |= self._logged
            self._logged, self._is_logging = set(), True
        self.metrics = {name: value for name, value in self.metrics.items() if name not in dropped}
        self._unread = {name: why for name, why in self._unread.items() if name not in dropped}
        self._logged |= data.keys() - {"_step"}

    def _kept(self, name: str, value: Any) -> Any:
        """Return the value that counts from now on: the newest, or the best one where that is asked for."""
        number, before = finite(value), finite(self.metrics.get(name))
        if name not in self._best or before is None:
            return value
        if number is None:
            return before
        return (max if self._best[name] == "maximize" else min)(number, before)

    @property
    def outdated(self) -> str | None:
        """Say of which metric the last line could not be read, so that a line before it would count."""
        for name, why in self._unread.items():
            words = "; JSON writes NaN and Infinity so" if "Expecting value" in why else ""
            return f"the last line with '{name}' begins like JSON and is none: {why}{words}"
        return None

    @property
    def is_silent(self) -> bool:
        """Whether not even a line that begins like JSON was there."""
        return self.hint == _ADVICE and not self._steps

    def look(self) -> None:
        """Read what was added to files."""
        for tail in self._files:
            for text in tail.lines():
                self.line(text)

    def end(self) -> None:
        """Read the rest of the files at the end: an unfinished last line, or one object of many lines."""
        for tail in self._files:
            for text in tail.lines(has_ended=True):
                self.line(text)
            whole = tail.indented()
            if whole is not None:
                self.line(whole)


class _Tail:
    """Reads what is added to a file from now on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = self._content()
        self._offset, self._last = len(self._before), self._before[-_LAST_BYTES:]

    def lines(self, *, has_ended: bool = False) -> Iterator[bytes]:
        """Yield the new lines; all of them where the file was written anew, as a program may do each epoch.

        Args:
            has_ended: Whether nothing is added any more, so that a last line without its end is whole.
        """
        if not self._path.is_file():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._offset - len(self._last))
            if stream.read(len(self._last)) != self._last:
                self._offset, self._last = 0, b""
            stream.seek(self._offset)
            content = stream.read()
        whole = content if has_ended else content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._last = (self._last + whole)[-_LAST_BYTES:]
        yield from whole.splitlines()

    def indented(self) -> bytes | None:
        """Return the whole file if it is one JSON object of several lines, written by this program."""
        content = self._content().removeprefix(_MARK).strip()
        if b"\n" not in content or content == self._before.removeprefix(_MARK).strip():
            return None
        try:
            return content if isinstance(json.loads(content), dict) else None
        except (ValueError, RecursionError):
            return None

    def _content(self) -> bytes:
        return self._path.read_bytes() if self._path.is_file() else b""
