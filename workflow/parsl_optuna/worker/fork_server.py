"""Forks a process per trial from one in which libraries are loaded already, and clears up after each.

A fresh process inherits nothing that an earlier trial changed. This one only imports: it runs no task, starts
no thread and touches no GPU, so that a fork of it is as good as a new interpreter.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

from parsl_optuna.core.processes import end_children
from parsl_optuna.worker import provenance, trial_process
from parsl_optuna.worker.messages import ENGINE_FAULT, receive_request
from parsl_optuna.worker.preload import is_loadable

_EXIT_WAIT_SEC = 1.0


class ForkServer:
    """Serves one supervisor.

    Args:
        control: Descriptor of the socket to it.
        grace_sec: How long a trial may take to save its progress when the node has to be left.
    """

    def __init__(self, control: int, grace_sec: float) -> None:
        self._control = socket.socket(fileno=control)
        self._grace_sec = grace_sec
        self._is_leaving, self._is_busy = False, False
        self._trial: int | None = None
        self._kill_at: float | None = None

    def serve(self) -> None:
        """Serve requests until the supervisor goes, or the scheduler wants the node back."""
        wakeup, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _wake)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which drains
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        _settle()
        self._say(ready=os.getpid())
        while not self._is_leaving:
            received = receive_request(self._control)
            if received is None:
                return
            self._is_busy = True
            self._serve_one(*received, wakeup=wakeup)
            self._is_busy = False

    def _serve_one(self, request: dict[str, Any], descriptors: list[int], wakeup: int) -> None:
        _load(request.pop("loaded"))
        token, parent = request["token"], os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                self._control.close()
                trial_process.main(request, descriptors, parent, self._grace_sec)
            finally:
                os._exit(ENGINE_FAULT)
        for descriptor in descriptors:
            os.close(descriptor)
        self._trial = pid
        self._say(token=token, started=pid)
        if self._is_leaving:
            self._leave()  # asked for before there was a process to tell
        status, peak = self._wait(pid, wakeup)
        self._trial = None
        n_left = end_children()
        self._say(token=token, ended=status, peak=peak, n_left=n_left, leaving=self._is_leaving)

    def _wait(self, pid: int, wakeup: int) -> tuple[int, int]:
        """Wait for a trial's process; return its exit code, negative for a signal, and its peak memory."""
        while True:
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                unit = 1 if sys.platform == "darwin" else 1024
                return os.waitstatus_to_exitcode(status), usage.ru_maxrss * unit
            watched: list[Any] = [wakeup] if self._is_leaving else [wakeup, self._control]
            left = None if self._kill_at is None else max(self._kill_at - time.monotonic(), 0.0)
            ready, _, _ = select.select(watched, [], [], left)
            if wakeup in ready:
                os.read(wakeup, 4096)
            if self._control in ready:  # nothing is sent meanwhile: the supervisor has gone
                self._leave()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                os.kill(pid, signal.SIGKILL)
                self._kill_at = time.monotonic() + _EXIT_WAIT_SEC

    def _on_term(self, number: int, frame: Any) -> None:
        if not self._is_busy:
            os._exit(0)
        self._leave()

    def _leave(self) -> None:
        self._is_leaving = True
        if self._trial is not None and self._kill_at is None:
            self._kill_at = time.monotonic() + self._grace_sec
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._trial, signal.SIGTERM)
                os.kill(self._trial, signal.SIGCONT)  # it may have been stopped

    def _say(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # the supervisor has gone; what runs is ended in `_wait`
            self._control.sendall(json.dumps(message).encode() + b"\n")


def _wake(number: int, frame: Any) -> None:
    """Do nothing; the signal itself is written to the pipe that `ForkServer` watches."""
    del number, frame


def _load(modules: Sequence[str]) -> None:
    """Import what earlier trials imported, so that later ones need not."""
    missing = [name for name in modules if name not in sys.modules and is_loadable(name)]
    for name in missing:
        with contextlib.suppress(Exception):  # the trial will say
            importlib.import_module(name)
    if missing:
        _settle()


def _settle() -> None:
    """Do once what each trial would do anew."""
    provenance.versions()
    gc.collect()
    gc.freeze()  # else the first collection after each fork copies all that is loaded
