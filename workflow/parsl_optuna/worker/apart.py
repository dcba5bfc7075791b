"""Keeps what a task does to its process from what runs there after it.

In a process of its own that is the commit; inline, it is the driver and every later trial. Threads and
lowered hard limits outlast a run inline, which is for debugging.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from parsl_optuna.core.errors import StoreError
from parsl_optuna.worker.provenance import is_users

LAUNCH_DIR = "PARSL_OPTUNA_LAUNCH_DIR"
"""Environment variable of a trial: the folder in which the command was started."""

_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
_N_SPARE = 8
"""Descriptors that a task cannot use up: to commit an outcome takes a few."""

_SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGALRM, signal.SIGCHLD, signal.SIGHUP, signal.SIGPIPE,
)  # fmt: skip


@contextlib.contextmanager
def apart(
    folder: Path | None, launch: Path, *, is_own_process: bool, look: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Run a task in its own working folder, and put back what it changed of this process.

    The task's ``sys.argv`` holds no arguments: those of the engine's process mean nothing to it, and a file
    that reads them would give other numbers than its id says.

    Args:
        folder: The working folder, made if it is not there; None stays where we are.
        launch: The folder in which the command was started.
        is_own_process: Whether this process ends with the trial. A process that the task forked, and
            which comes back from it as well, is ended at once in any case.
        look: Called when the task has ended, while its modules are still loaded.
    """
    owner, kept = os.getpid(), _Kept()
    os.environ[LAUNCH_DIR] = str(launch)
    sys.argv = sys.argv[:1]
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.chdir(folder)
        except OSError as error:
            raise StoreError(f"{folder}: cannot be made: {error.strerror}") from error
    try:
        yield
    finally:
        if os.getpid() != owner:
            os._exit(0)  # a copy of this process, which must not answer for it
        kept.put_back_limits()
        look()
        if is_own_process:
            flush_open_files()
        else:
            kept.put_back_rest(launch)


class _Kept:
    def __init__(self) -> None:
        self._spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(_N_SPARE)]
        self._folder = os.getcwd()  # noqa: PTH109
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._environment = dict(os.environ)
        self._limits = {number: resource.getrlimit(number) for number in _LIMITS}
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        self._recursion = sys.getrecursionlimit()
        self._path, self._modules = list(sys.path), set(sys.modules)
        self._streams, self._argv = (sys.stdin, sys.stdout, sys.stderr), sys.argv

    def put_back_limits(self) -> None:
        for descriptor in self._spare:
            with contextlib.suppress(OSError):  # the task closed it
                os.close(descriptor)
        sys.setrecursionlimit(self._recursion)
        for number, limits in self._limits.items():
            with contextlib.suppress(ValueError, OSError):  # the task lowered the hard limit
                resource.setrlimit(number, limits)
        with contextlib.suppress(OSError):  # removed meanwhile; the engine's paths are absolute
            os.chdir(self._folder)
        os.umask(self._umask)

    def put_back_rest(self, launch: Path) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._handlers.items():
            with contextlib.suppress(ValueError, TypeError):  # not the main thread, or set outside of Python
                signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(self._environment)
        added = [entry for entry in sys.path if entry not in self._path]
        for name in set(sys.modules) - self._modules:
            path = getattr(sys.modules[name], "__file__", None)
            if is_users(path, [str(launch), *added]):
                del sys.modules[name]  # a user's module may have the name of one that the driver needs
        sys.path[:] = self._path
        sys.stdin, sys.stdout, sys.stderr = self._streams
        sys.argv = self._argv


def flush_open_files() -> None:
    """Write what a task left in files that it did not close; the process ends without doing so."""
    kinds = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
    for one in gc.get_objects():
        if type(one) in kinds and not one.closed:
            with contextlib.suppress(Exception):  # not open for writing, or its descriptor is gone
                one.flush()
