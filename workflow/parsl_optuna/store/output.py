"""What a trial prints, in a file of bounded size: the first part as it comes, the last part at its end."""

from __future__ import annotations

import contextlib
from collections import deque
from pathlib import Path

MOST_BYTES = 1 << 20
"""Of each of stdout.txt and stderr.txt: some ten thousand lines, and 2 GiB for a thousand trials at most."""


class Output:
    """Takes what one stream prints.

    Args:
        path: The file; it is made with the first byte, in place of one of an earlier attempt.
        most_bytes: How much is kept, half of it from the beginning.
    """

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self._path, self._half = path, most_bytes // 2
        self._has_file, self._n_written = False, 0
        self._rest: deque[bytes] = deque()
        self._n_rest = self._n_left_out = 0

    def add(self, content: bytes) -> None:
        """Take what was printed. A disk that does not is left to whoever stores the outcome."""
        room = self._half - self._n_written
        if room > 0:
            self._write(content[:room])
            self._n_written += len(content[:room])
            content = content[room:]
        if not content:
            return
        self._rest.append(content)
        self._n_rest += len(content)
        while self._n_rest - len(self._rest[0]) >= self._half:
            gone = len(self._rest.popleft())
            self._n_rest -= gone
            self._n_left_out += gone

    def tail(self, most_bytes: int) -> bytes:
        """Return the end of what was printed."""
        if not self._rest:
            return end_of(self._path, most_bytes) if self._has_file else b""
        return b"".join(self._rest)[-most_bytes:]

    def close(self) -> None:
        """Write the last part."""
        rest = b"".join(self._rest)
        too_many = max(len(rest) - self._half, 0)
        if self._n_left_out + too_many:
            note = f"\n[parsl-optuna: {self._n_left_out + too_many} bytes are left out here]\n"
            self._write(note.encode())
        if rest:
            self._write(rest[too_many:])
        self._rest.clear()

    def _write(self, content: bytes) -> None:
        mode = "ab" if self._has_file else "wb"
        with contextlib.suppress(OSError), self._path.open(mode) as stream:
            self._has_file = True
            stream.write(content)


def end_of(path: Path, most_bytes: int) -> bytes:
    """Return the end of a file; nothing of one that is not there."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(stream.seek(0, 2) - most_bytes, 0))
            return stream.read()
    except OSError:
        return b""
