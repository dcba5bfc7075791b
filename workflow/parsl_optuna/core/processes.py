"""Processes that end with the process that started them, and processes that one leaves behind.

What needs Linux does nothing elsewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36  # likewise
_MOST_SEC = 5.0
"""A process that does not end so long after SIGKILL hangs in the kernel, on a lost file system say."""


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # before a fork, after which loading can hang


def die_with_parent(number: int, parent: int | None = None) -> None:
    """Have Linux send a signal when the parent ends; leave at once if it has ended already.

    Elsewhere a process has to notice by itself, when a pipe of its parent closes.

    Args:
        number: The signal.
        parent: The process id of the parent, which it passed on; None does not look.
    """
    _prctl(_PR_SET_PDEATHSIG, number)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent ends (Linux), so that none can escape."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children() -> list[int]:
    """Return the process ids of this process's children, ended ones that were not waited for included."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as stream:  # noqa: PTH123
            return [int(word) for word in stream.read().split()]
    except OSError:  # not Linux, or a kernel built without this file
        import psutil  # noqa: PLC0415

        return [one.pid for one in psutil.Process().children()]


def end_children(is_meant: Callable[[int], bool] | None = None) -> int:
    """Kill children of this process, and theirs as they become its own; return how many there were.

    Args:
        is_meant: Which of them, by process id; None means all.
    """
    ended: set[int] = set()
    until = time.monotonic() + _MOST_SEC
    while time.monotonic() < until:
        found = [pid for pid in children() if is_meant is None or is_meant(pid)]
        if not found:
            break
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        waited = 0
        for pid in found:
            with contextlib.suppress(ChildProcessError):
                waited += os.waitpid(pid, os.WNOHANG)[0] != 0
        ended |= set(found)
        if not waited:
            time.sleep(0.001)
    return len(ended)


def _prctl(option: int, value: int) -> None:
    if _libc is not None:
        _libc.prctl(option, value)


def drop_in_forks(handlers: Mapping[signal.Signals, Any]) -> None:
    """Let processes that are forked from now on end by a signal, as `multiprocessing.Pool` ends its own.

    Args:
        handlers: Handlers of this process, by signal; others, as a task may set them, stay.
    """

    def drop() -> None:
        for number, handler in handlers.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, signal.SIG_DFL)

    os.register_at_fork(after_in_child=drop)
