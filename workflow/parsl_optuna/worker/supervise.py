"""What a worker runs: a trial in a child process, watched, so that nothing it does can take the worker along.

A child that overruns its budget, eats its memory, crashes or floods its output ends in a state of its own;
what is no fault of the trial is `WorkerLost`, for the driver to try again.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from parsl_optuna.core import errors
from parsl_optuna.core.errors import NodeReclaimed, NotStarted, WorkerLost
from parsl_optuna.core.records import Request, State
from parsl_optuna.core.resources import LimitsSpec
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.worker import execute as worker

_KEPT_OUTPUT = 8192
_LOOK_SEC = 0.25
"""How often to see whether a trial is to be pruned."""

_NEAR_LIMIT = 0.8
"""A child that is killed with this share of the memory in use was killed for it."""


class ChildDied(Exception):
    """The child ended without an answer.

    Attributes:
        status: As ``os.waitstatus_to_exitcode`` gives it: negative for a signal.
        peak: Its peak memory in bytes.
        overran: Seconds over the limit when it was killed for that; None otherwise.
    """

    def __init__(self, status: int, peak: int, overran: float | None) -> None:
        super().__init__(status)
        self.status, self.peak, self.overran = status, peak, overran


class Child:
    """A process that runs trials, one at a time."""

    def __init__(self, limits: LimitsSpec) -> None:
        self._limits = limits
        arguments = [str(limits.grace_sec), str(limits.memory_gb or 0)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "parsl_optuna.worker.child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that killing it reaches what it started
        )
        self._ears = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._ears.register(stream, selectors.EVENT_READ)
        self._answers: deque[dict[str, Any]] = deque()
        self._torn, self._is_answering = b"", True
        self._running: str | None = None
        self._since = 0.0
        self.output = b""

    def matches(self, limits: LimitsSpec) -> bool:
        """Whether the child is alive and was started with these limits."""
        return self._process.poll() is None and self._limits == limits

    def send(self, request: Request) -> None:
        """Hand the child a trial to run."""
        assert self._process.stdin is not None
        self._running = None
        with contextlib.suppress(BrokenPipeError):  # it has died: there will be no answer
            self._process.stdin.write(json.dumps(request.to_json()).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self, request: Request, stop: Path | None = None) -> dict[str, Any]:
        """Return the child's answer to the trial that it was sent.

        Args:
            request: The trial.
            stop: A file; when it appears, the run is to end as pruned.

        Raises:
            ChildDied: It ended without one, or was killed for taking too long.
        """
        grace_sec = self._limits.grace_sec
        prepared_by, stopped_by = time.monotonic() + self._limits.prepare_sec, math.inf
        while True:
            while self._answers:
                answer = self._answers.popleft()
                if "running" not in answer:
                    return answer
                self._running, self._since = answer["running"], time.monotonic()
            running = self._running == request.trial_id
            limit = min(self._since + request.budget_sec + grace_sec if running else prepared_by, stopped_by)
            if running and stop is not None and stop.exists():
                self._process.send_signal(signal.SIGUSR1)
                stop, stopped_by = None, time.monotonic() + grace_sec
            if time.monotonic() > limit:
                self.kill()
                raise self._died(grace_sec)
            if not self._is_answering:
                self._listen(0.1)  # its last words
                raise self._died(None)
            left = limit - time.monotonic()
            self._listen(left if stop is None else min(left, _LOOK_SEC))

    def kill(self) -> None:
        """End the child and everything that it started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def close(self) -> None:
        """End the child and wait for it."""
        self.kill()
        self._died(None)

    def _listen(self, seconds: float) -> None:
        """Wait for something to read; keep the answers and the end of the output."""
        for key, _ in self._ears.select(max(seconds, 0.0)):
            chunk = os.read(key.fd, 1 << 16)
            if not chunk:
                # What the child started may still hold its stderr; its answers were its own.
                self._is_answering &= key.fileobj is not self._process.stdout
                self._ears.unregister(key.fileobj)
            elif key.fileobj is self._process.stderr:
                self.output = (self.output + chunk)[-_KEPT_OUTPUT:]
            else:
                *lines, self._torn = (self._torn + chunk).split(b"\n")
                self._answers.extend(json.loads(line) for line in lines)

    def _died(self, overran: float | None) -> ChildDied:
        peak = 0
        if self._process.returncode is None:
            _, status, usage = os.wait4(self._process.pid, 0)
            self._process.returncode, peak = os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
            self.kill()  # what it started and left behind
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        return ChildDied(self._process.returncode, peak, overran)


_children: dict[int, Child] = {}
"""The child of this process, by its own id: a forked worker does not share its parent's."""


def run(request: Request) -> dict[str, Any]:
    """Run a stored trial in a child process; return the accepted outcome as plain data.

    Raises:
        WorkerLost: The child was killed or preempted from outside, and another try may help.
        NotStarted: The driver is leaving.
        WorkflowError: The store cannot be read or written.
    """
    if request.leaving is not None and Path(request.leaving).exists():
        raise NotStarted("the driver is leaving")
    names, begun = (request.pid, request.method, request.trial_id), time.monotonic()
    stop = ArtifactStore(Path(request.root)).paths.stop(*names) if request.prunable else None
    child = _child(request.limits)
    child.send(request)
    try:
        answer = child.answer(request, stop)
    except ChildDied as died:
        del _children[os.getpid()]
        state, reason = verdict(died, request.budget_sec, request.limits.memory_gb)
        if state is State.LOST:
            raise WorkerLost(reason) from died
        store = ArtifactStore(Path(request.root))
        manifest, _ = store.manifest(*names)
        seconds, output = time.monotonic() - begun, child.output.decode(errors="replace")
        outcome = worker.failure(manifest, state, reason, runtime_sec=seconds, output=output or None)
        return store.commit(manifest, outcome).to_json()
    child.output = b""
    if answer["leaving"]:
        _children.pop(os.getpid()).close()
    if "outcome" in answer:
        return answer["outcome"]
    if "preempted" in answer:
        raise NodeReclaimed("the scheduler took the node back; its progress is saved")
    raise getattr(errors, answer["error"])(answer["text"])


def _child(limits: LimitsSpec) -> Child:
    """Return the child of this process, a new one where there is none with these limits."""
    child = _children.get(os.getpid())
    if child is None or not child.matches(limits):
        if child is not None:
            child.close()
        child = _children[os.getpid()] = Child(limits)
    return child


def verdict(died: ChildDied, budget_sec: float, memory_gb: float | None) -> tuple[State, str]:
    """Return the state of a trial whose process died, and why."""
    if died.overran is not None:
        return State.TIMEOUT, f"still running {died.overran:g} s after its budget of {budget_sec:g} s; killed"
    if died.status == 0:
        return State.LOST, "its process left without an answer"
    if died.status > 0:
        return State.FAILED, f"its process left with exit code {died.status}"
    name = signal.Signals(-died.status).name
    if -died.status == signal.SIGKILL:
        size = memory_gb * 2**30 if memory_gb else _memory()
        if died.peak >= _NEAR_LIMIT * size:
            return State.OUT_OF_MEMORY, f"killed with {died.peak / 2**30:.1f} GiB in use"
        return State.LOST, "its process was killed from outside"
    if -died.status == signal.SIGTERM:
        return State.LOST, "its process was terminated from outside"
    return State.FAILED, f"its process died of {name}"


def _memory() -> float:
    """Return the memory that this process may use, in bytes: its control group's, or the machine's."""
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        return min(total, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such group, or "max"
        return total
