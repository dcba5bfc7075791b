"""One driver per results folder: a file that its holder rewrites, and that outlives no dead holder for long.

Advisory: two drivers that slip through still commit each trial once (`ArtifactStore.commit`). Whether a
holder lives is seen in the process table on the same machine, elsewhere by whether the beat moves; clocks are
never compared.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from parsl_optuna.core.clock import utc_now
from parsl_optuna.core.errors import CorruptArtifact, HeldError, StoreError
from parsl_optuna.store import document

_PERIOD_SEC = 5.0
_SILENT_PERIODS = 6
_TAKER_PAUSE_SEC = 0.05
_TAKER_TRIES = 100
_TOKEN = re.compile(r"[0-9A-Za-z]+")
"""Part of a file name."""
_KEYS = {"host", "space", "pid", "started", "token", "since", "beat"}


class Lease:
    """Holds a file while a driver is at work.

    Args:
        path: The file.
        period_sec: How often the holder shows that it lives.
    """

    def __init__(self, path: Path, period_sec: float = _PERIOD_SEC) -> None:
        self._path, self._period_sec = path, period_sec
        self._mine = {**_identity(), "token": secrets.token_hex(8), "since": utc_now(), "beat": 0}
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Lease:
        """Take the file.

        Raises:
            HeldError: A living driver holds it.
            StoreError: The folder cannot be written.
        """
        tries = 0
        while not document.write(self._path, self._mine, replace=False):
            holder = self._holder()
            if holder is not None and self._is_alive(holder):
                raise HeldError(
                    f"{self._path.parent}: held by process {holder['pid']} on {holder['host']} since "
                    f"{holder['since']}; wait for it, or choose another --results-dir"
                )
            tries += 1
            if self._take_over(holder, is_late=tries > _TAKER_TRIES):
                break
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the file back, if it is still this driver's."""
        self._released.set()
        self._heart.join()
        if self._is_mine():
            self._path.unlink(missing_ok=True)

    def _holder(self) -> dict[str, Any] | None:
        """Return what is in the file; None when it is gone or damaged, which is no living holder."""
        return _read(self._path)

    def _is_mine(self) -> bool:
        holder = self._holder()
        return holder is not None and holder["token"] == self._mine["token"]

    def _is_alive(self, holder: dict[str, Any]) -> bool:
        here = _identity()
        if (holder["host"], holder["space"]) == (here["host"], here["space"]):
            return holder["started"] is not None and _started(holder["pid"]) == holder["started"]
        limit = time.monotonic() + _SILENT_PERIODS * self._period_sec
        while time.monotonic() < limit:  # on another machine: watch it
            time.sleep(self._period_sec / 5)
            now = self._holder()
            if now is None:
                return False
            if (now["token"], now["beat"]) != (holder["token"], holder["beat"]):
                return True
        return False

    def _take_over(self, holder: dict[str, Any] | None, *, is_late: bool) -> bool:
        """Put this driver's file in the place of a dead holder's; False when something else happened.

        The marker, named after the dead holder, lets one taker at a time through; a taker that died
        under way leaves it behind, to be removed once another one has waited long enough.
        """
        token = None if holder is None else holder["token"]
        marker = self._path.with_name(f".{self._path.name}.{token}")
        try:
            marker.mkdir()  # of several takers one succeeds, on every file system
        except FileExistsError:
            time.sleep(_TAKER_PAUSE_SEC)
            if is_late:
                _remove(marker)
            return False
        except OSError as error:
            raise StoreError(f"{marker}: cannot be made: {error.strerror}; check the folder") from error
        try:
            if not self._path.exists():  # given back: whoever writes it first has it
                return False
            found = _read(self._path)
            if (None if found is None else found["token"]) != token:
                return False
            return document.write(self._path, self._mine)
        finally:
            _remove(marker)

    def _beat(self) -> None:
        while not self._released.wait(self._period_sec):
            self._mine["beat"] += 1
            try:
                if self._is_mine():
                    document.write(self._path, self._mine)
            except StoreError:  # whoever has something to store reports a full disk
                continue


def _remove(marker: Path) -> None:
    """Remove a marker; older versions made a file of it."""
    try:
        marker.rmdir()
    except NotADirectoryError:
        marker.unlink(missing_ok=True)
    except OSError:
        return


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = document.read(path)
    except CorruptArtifact:
        return None
    if data is None or not data.keys() >= _KEYS or not _TOKEN.fullmatch(str(data["token"])):
        return None
    return data


def _identity() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": socket.gethostname(), "space": _space(), "pid": pid, "started": _started(pid)}


def _space() -> str:
    """Return what distinguishes this machine's process table from another one of the same host name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115  not a path
    except OSError:
        return ""


def _started(pid: Any) -> str | None:
    """Return when a process started, in ticks since boot; None when there is none."""
    try:
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, ValueError, TypeError, IndexError):
        return None
