"""A worker's side of a fork server: hands it one trial at a time, listens, keeps what the trial prints."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parsl_optuna.core.errors import ExecutorError, NodeReclaimed, WorkerLost
from parsl_optuna.core.processes import adopt_orphans, end_children
from parsl_optuna.store.output import Output
from parsl_optuna.worker.messages import MARK, Listener, send_request

_LOOK_SEC = 0.25
"""How often to see whether a trial is to be pruned."""

_START_SEC = 300.0
"""A file system that many workers import from at once can take minutes."""

_EXIT_SEC = 30.0
"""A process that is still there so long after SIGKILL hangs in the kernel."""

_LAST_WORDS_SEC = 2.0
"""From closing its socket to its end a server has nothing more to do."""

_KEPT_OUTPUT = 8192


@dataclass
class Ended:
    """How the process of a trial ended.

    Attributes:
        status: Exit code, negative for a signal; None if the fork server ended before it could say.
        peak: Peak memory in bytes.
        overran: Seconds over the limit when the process was killed for that; None otherwise.
        began: Whether the run itself had begun.
        ran_sec: Time from then on.
        n_left: How many processes the trial left behind.
        n_strays: How many lines on the pipe were no messages of this trial.
        is_leaving: Whether the scheduler wants the node back.
        said: Everything else that the process said.
        tail: The end of what it printed.
    """

    status: int | None = None
    peak: int = 0
    overran: float | None = None
    began: bool = False
    ran_sec: float = 0.0
    n_left: int = 0
    n_strays: int = 0
    is_leaving: bool = False
    said: dict[str, Any] = field(default_factory=dict)
    tail: str = ""


@dataclass(frozen=True)
class Watch:
    """Limits of a run, and where its output goes.

    Attributes:
        prepare_sec: Time until the run itself begins.
        run_sec: Time from then on; infinite for work that has no such moment.
        grace_sec: Added to *run_sec*, and time to end when the run is pruned.
        stop: A file; when it appears, the run is to end as pruned.
        stdout: File for what is printed.
        stderr: Likewise.
    """

    prepare_sec: float
    run_sec: float
    grace_sec: float
    stop: Path | None
    stdout: Path
    stderr: Path


class ForkClient:
    """A fork server and the connection to it.

    Args:
        grace_sec: How long a trial may take to save its progress when the node has to be left.

    Raises:
        ExecutorError: The server does not start.
        WorkerLost: It was killed while it started.
    """

    def __init__(self, grace_sec: float) -> None:
        self.grace_sec = grace_sec
        self._mark = secrets.token_hex(8)
        self._control, theirs = socket.socketpair()
        # -P: the current folder, which is the user's, must not hide modules of Python.
        program = [sys.executable, "-P", "-m", "parsl_optuna.worker.child"]
        with theirs:
            self._process = subprocess.Popen(
                [*program, str(theirs.fileno()), str(os.getpid()), str(grace_sec)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C does not reach it
                env=os.environ | {MARK: self._mark},
            )
        adopt_orphans()  # of a server that is killed
        assert self._process.stdout is not None
        self._log = self._process.stdout
        os.set_blocking(self._log.fileno(), False)
        self._printed, self._torn = b"", b""
        self._loaded: dict[str, None] = {}
        self._commits: dict[str, Any] = {}
        self._wait_until_ready()

    @property
    def is_alive(self) -> bool:
        """Whether the server can serve."""
        return self._process.poll() is None

    def run(self, request: Mapping[str, Any], watch: Watch) -> Ended:
        """Have a process serve a request; wait for its end."""
        return _Visit(self, request, watch).serve()

    def close(self) -> None:
        """End the server, what it runs, and everything that was started there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._control.close()
        self._log.close()
        end_children(self._is_ours)

    def _is_ours(self, pid: int) -> bool:
        """Whether a process descends from this server."""
        with contextlib.suppress(OSError):
            return f"{MARK}={self._mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        return False

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + _START_SEC
        self._control.setblocking(True)
        while time.monotonic() < until and self._process.poll() is None:
            self._control.settimeout(_LOOK_SEC)
            try:
                messages = self._messages()
                if messages is None:
                    break
                if any("ready" in message for message in messages):
                    return
            except TimeoutError:
                continue
            finally:
                self._listen_to_log()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_WORDS_SEC)
        self._listen_to_log()
        code = self._process.poll()
        self.close()
        if code is not None and code > 0:
            words = self._printed.decode(errors="replace").strip() or "it printed nothing"
            raise ExecutorError(f"the process for trials cannot start: exit code {code}: {words[-2000:]}")
        raise WorkerLost(f"the process for trials did not start (exit code {code})")

    def _messages(self) -> list[dict[str, Any]] | None:
        """Return messages of the server; None when it has gone."""
        try:
            chunk = self._control.recv(1 << 16)
        except ConnectionError:
            return None
        if not chunk:
            return None
        *lines, self._torn = (self._torn + chunk).split(b"\n")
        return [json.loads(line) for line in lines]

    def _listen_to_log(self) -> None:
        with contextlib.suppress(BlockingIOError, ValueError):
            self._printed = (self._printed + os.read(self._log.fileno(), 1 << 16))[-_KEPT_OUTPUT:]


class _Visit:
    """One request at a server."""

    def __init__(self, client: ForkClient, request: Mapping[str, Any], watch: Watch) -> None:
        self._client, self._watch = client, watch
        self._token = secrets.token_hex(8)
        known = {"loaded": list(client._loaded), "commits": client._commits}
        self._request = {**request, **known, "token": self._token}
        self._listener, self._ended = Listener(self._token), Ended()
        self._outputs = [Output(watch.stdout), Output(watch.stderr)]
        self._pipes: dict[int, Output | None] = {}
        self._pid: int | None = None
        self._stop = watch.stop
        self._limit = time.monotonic() + watch.prepare_sec
        self._began_at = math.inf
        self._is_over = False

    def serve(self) -> Ended:
        """Hand over the request and wait for the end of its process."""
        with selectors.DefaultSelector() as selector:
            self._send(selector)
            selector.register(self._client._control, selectors.EVENT_READ)
            selector.register(self._client._log, selectors.EVENT_READ)
            try:
                while not self._is_over:
                    self._look_after()
                    left = self._limit - time.monotonic()
                    look = _LOOK_SEC if self._stop is not None else math.inf
                    wait = max(min(left, look), 0.0)
                    for key, _ in selector.select(None if wait == math.inf else wait):
                        self._take(selector, key.fd)
                while self._drain(selector):
                    pass
            finally:
                for descriptor in self._pipes:
                    os.close(descriptor)
        return self._close()

    def _send(self, selector: selectors.BaseSelector) -> None:
        theirs = []
        for output in (None, *self._outputs):
            mine, other = os.pipe()
            os.set_blocking(mine, False)
            self._pipes[mine] = output
            theirs.append(other)
            selector.register(mine, selectors.EVENT_READ)
        self._client._control.settimeout(_EXIT_SEC)
        try:
            send_request(self._client._control, self._request, theirs)
        except OSError:  # it has ended, which is seen at once
            self._is_over = True
        finally:
            for descriptor in theirs:
                os.close(descriptor)

    def _look_after(self) -> None:
        """Prune or kill the process where it is time to."""
        now, grace = time.monotonic(), self._watch.grace_sec
        if self._stop is not None and self._ended.began and self._stop.exists():
            self._signal(signal.SIGUSR1)
            self._stop, self._limit = None, min(self._limit, now + grace)
        if now < self._limit:
            return
        if self._ended.overran is None and self._pid is not None:
            self._ended.overran = grace
            self._signal(signal.SIGKILL)
            self._limit = now + _EXIT_SEC
        else:  # it does not even end by that
            self._is_over = True

    def _signal(self, number: int) -> None:
        assert self._pid is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self._pid, number)
        if number == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, number)

    def _take(self, selector: selectors.BaseSelector, descriptor: int) -> None:
        if descriptor == self._client._log.fileno():
            self._client._listen_to_log()
            return
        if descriptor == self._client._control.fileno():
            messages = self._client._messages()
            self._is_over |= messages is None
            for message in messages or []:
                self._hear_server(message)
            return
        self._read(selector, descriptor)

    def _read(self, selector: selectors.BaseSelector, descriptor: int) -> bool:
        """Read from a pipe of the process; return whether there was something."""
        try:
            chunk = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return False
        if not chunk:
            selector.unregister(descriptor)
            return False
        output = self._pipes[descriptor]
        if output is not None:
            output.add(chunk)
            return True
        for message in self._listener.heard(chunk):
            self._hear_trial(message)
        return True

    def _drain(self, selector: selectors.BaseSelector) -> bool:
        """Take what is left in the pipes, which processes of the trial may still hold open."""
        watched = set(selector.get_map())
        return any(self._read(selector, pipe) for pipe in self._pipes if pipe in watched)

    def _hear_server(self, message: Mapping[str, Any]) -> None:
        if message.get("token") != self._token:
            return
        if "started" in message:
            self._pid = message["started"]
        if "ended" in message:
            ended = self._ended
            ended.status, ended.peak, ended.n_left = message["ended"], message["peak"], message["n_left"]
            ended.is_leaving, self._is_over = message["leaving"], True

    def _hear_trial(self, message: dict[str, Any]) -> None:
        if message.get("begun") and not self._ended.began:
            self._ended.began, self._began_at = True, time.monotonic()
            self._limit = self._began_at + self._watch.run_sec + self._watch.grace_sec
        self._client._loaded |= dict.fromkeys(message.get("loaded", ()))
        self._client._commits |= message.get("commits", {})
        self._ended.said |= message

    def _close(self) -> Ended:
        for output in self._outputs:
            if self._ended.status != 0:
                tail = output.tail(_KEPT_OUTPUT).decode(errors="replace").strip()
                self._ended.tail = tail or self._ended.tail
            output.close()
        self._ended.ran_sec = max(time.monotonic() - self._began_at, 0.0)
        self._ended.n_strays = self._listener.n_strays
        if self._ended.status is None:  # the server has ended, or hangs
            code = self._client._process.poll()
            self._client.close()
            # Asked to leave between two trials, it ends by itself.
            self._ended.is_leaving = code in (0, -signal.SIGTERM)
        return self._ended


def lost(ended: Ended) -> WorkerLost:
    """Return the error for a process that ended with its fork server."""
    if ended.is_leaving:
        return NodeReclaimed("the scheduler took the node back")
    return WorkerLost("the process that the trial was forked from was killed, by the trial or from outside")
