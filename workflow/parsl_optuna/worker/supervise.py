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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from parsl_optuna.core import errors
from parsl_optuna.core.errors import NodeReclaimed, NotStarted, WorkerLost
from parsl_optuna.core.records import State
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.worker import execute as worker

_KEPT_OUTPUT = 8192
_LOOK_SEC = 0.25
"""How often to see whether a trial is given up."""

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

    def __init__(self, limits: Mapping[str, Any]) -> None:
        self._limits = dict(limits)
        arguments = [str(limits["grace_sec"]), str(limits["memory_gb"] or 0)]
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
        self._begun: list[str] = []
        self._since = 0.0
        self.output = b""

    def matches(self, limits: Mapping[str, Any]) -> bool:
        """Whether the child is alive and was started with these limits."""
        return self._process.poll() is None and self._limits == dict(limits)

    def send(self, requests: Sequence[Mapping[str, Any]]) -> None:
        """Hand the child trials to run in turn, each as the arguments of `worker.execute`."""
        assert self._process.stdin is not None
        self._begun = []
        text = "".join(json.dumps(dict(request)) + "\n" for request in requests)
        with contextlib.suppress(BrokenPipeError):  # it has died: there will be no answer
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()

    def answer(self, trial_id: str, budget_sec: float, stop: Path | None = None) -> dict[str, Any]:
        """Return the child's answer to the next trial that it was sent.

        Args:
            trial_id: The trial's.
            budget_sec: Time allowed for the run itself.
            stop: A file; when it appears, the run is to end as pruned.

        Raises:
            ChildDied: It ended without one, or was killed for taking too long.
        """
        grace_sec = self._limits["grace_sec"]
        prepared_by, stopped_by = time.monotonic() + self._limits["prepare_sec"], math.inf
        while True:
            while self._answers:
                answer = self._answers.popleft()
                if "running" not in answer:
                    return answer
                self._begun.append(answer["running"])
                self._since = time.monotonic()
            running = trial_id in self._begun
            limit = min(self._since + budget_sec + grace_sec if running else prepared_by, stopped_by)
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

    def has_gone_on_from(self, trial_id: str) -> bool:
        """Whether a trial had run and the next one had begun when the child was last heard of."""
        return trial_id in self._begun[:-1]

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


class Ticket(NamedTuple):
    """A stored trial that is to run.

    Attributes:
        pid: The problem's id.
        method: Name of the method.
        trial_id: The trial's id.
        budget_sec: Time allowed for the run itself.
        prunable: Whether the driver may give the trial up.
    """

    pid: str
    method: str
    trial_id: str
    budget_sec: float
    prunable: bool = False


def run_all(
    root: str,
    tickets: Sequence[Ticket],
    objective: Mapping[str, Any],
    limits: Mapping[str, Any],
    leaving: str | None = None,
) -> list[dict[str, Any] | WorkerLost | NotStarted]:
    """Run stored trials one after another in a child process.

    Args:
        root: The artifacts folder.
        tickets: The trials. Only one that comes alone may be prunable: the child does not wait between
            several, so that a request to stop could reach the next one.
        objective: As `worker.execute` takes it.
        limits: Fields of `LimitsSpec`.
        leaving: A file; while it is there, nothing is started.

    Returns:
        For each the accepted outcome as plain data, `WorkerLost` where the child was killed or preempted
        from outside, and another try may help, or `NotStarted`.

    Raises:
        WorkflowError: The store cannot be read or written.
    """
    answers: list[dict[str, Any] | WorkerLost | NotStarted] = []
    one_by_one = False
    while len(answers) < len(tickets):
        left = tickets[len(answers) :]
        if leaving is not None and Path(leaving).exists():
            return [*answers, *(NotStarted("the driver is leaving") for _ in left)]
        if one_by_one:
            left = left[:1]
        child = _child(limits)
        child.send([_request(root, ticket, objective, limits, ticket is not left[-1]) for ticket in left])
        for ticket in left:
            answer = _outcome(child, root, ticket, limits)
            if answer is None:
                one_by_one = True
                break
            answers.append(answer)
            if isinstance(answer, NodeReclaimed):
                return answers + [answer] * (len(tickets) - len(answers))  # nothing more is started here
            if _children.get(os.getpid()) is not child:
                break
    return answers


def _child(limits: Mapping[str, Any]) -> Child:
    """Return the child of this process, a new one where there is none with these limits."""
    child = _children.get(os.getpid())
    if child is None or not child.matches(limits):
        if child is not None:
            child.close()
        child = _children[os.getpid()] = Child(limits)
    return child


def _request(
    root: str, ticket: Ticket, objective: Mapping[str, Any], limits: Mapping[str, Any], in_bundle: bool
) -> dict[str, Any]:
    names = {"pid": ticket.pid, "method": ticket.method, "trial_id": ticket.trial_id}
    lent = {name: limits[name] for name in ("checkpoint_sec", "keep_checkpoint_mb")}
    return {"root": root, **names, "objective": objective, "in_bundle": in_bundle, **lent}


def _outcome(
    child: Child, root: str, ticket: Ticket, limits: Mapping[str, Any]
) -> dict[str, Any] | WorkerLost | None:
    """Wait for what comes of a trial; forget the child if it has ended.

    Returns:
        None if the next trial took the child along before this one's outcome was stored.
    """
    names, begun = (ticket.pid, ticket.method, ticket.trial_id), time.monotonic()
    stop = ArtifactStore(Path(root)).paths.stop(*names) if ticket.prunable else None
    try:
        answer = child.answer(ticket.trial_id, ticket.budget_sec, stop)
    except ChildDied as died:
        del _children[os.getpid()]
        if child.has_gone_on_from(ticket.trial_id):
            return None
        state, reason = verdict(died, ticket.budget_sec, limits["memory_gb"])
        if state is State.LOST:
            return WorkerLost(reason)
        store = ArtifactStore(Path(root))
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
        return NodeReclaimed("the scheduler took the node back; its progress is saved")
    if os.getpid() in _children:
        _children.pop(os.getpid()).close()  # it may be busy with a trial that no one will ask about
    raise getattr(errors, answer["error"])(answer["text"])


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
