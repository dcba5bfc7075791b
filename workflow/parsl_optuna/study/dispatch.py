"""Carries work to an executor and back, and submits again what was lost with its worker."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from parsl_optuna.core.clock import Clock
from parsl_optuna.core.counted import counted
from parsl_optuna.core.errors import (
    BlockLost,
    ExecutorError,
    NodeReclaimed,
    NotStarted,
    StoreError,
    TaskError,
    WorkerLost,
    WorkflowError,
)
from parsl_optuna.core.records import Outcome, Request, State, Trial
from parsl_optuna.core.resources import LimitsSpec
from parsl_optuna.execution.backend import Executor
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.atomic import write_bytes
from parsl_optuna.store.events import EventLog, Kind
from parsl_optuna.worker import execute as worker
from parsl_optuna.worker import supervise

_RETRIES = {NodeReclaimed: 1000, BlockLost: 10}
"""How often a trial that was lost in such a way is submitted again. A node that is wanted back costs no
progress, so that only a scheduler gone wild reaches the first bound."""

_OTHER_RETRIES = 2
"""In any other way the trial itself may be what kills workers."""


_SLACK_SEC = 120.0
"""What a trial may take beyond its limits before its worker counts as stuck: a child that imports torch
from a slow file system, and the supervisor's own kill."""


class Prepared(NamedTuple):
    """A problem's data were made, or cannot be."""

    pid: str
    error: str | None


class Returned(NamedTuple):
    """A trial or reference came back; without an outcome it was not started."""

    trial: Trial
    outcome: Outcome | None


@dataclass(frozen=True)
class _Flight:
    """What is on its way: a trial, or a problem's data where there is none."""

    pid: str
    trial: Trial | None
    urgency: float
    prunable: bool = False
    tries: int = 0


@dataclass
class _Submission:
    """A flight that was handed to the executor.

    Attributes:
        flight: The flight.
        future: What it comes to.
        at: When it was submitted.
        running_since: When it was first known to run; None while it may be queued.
        is_late: Whether its worker was to be replaced.
    """

    flight: _Flight
    future: Future[Any]
    at: float
    running_since: float | None = None
    is_late: bool = False


class Dispatch:
    """The work that is on its way.

    Args:
        store: Where what runs is kept.
        executor: Where it runs.
        limits: What a trial may take besides its budget.
        look: Reads what running trials report, and asks those to stop that are pruned.
        events: The record of what happens.
        now: Monotonic clock.

    Attributes:
        n_started: How many trials and references were submitted, each counted once.
    """

    def __init__(
        self,
        store: ArtifactStore,
        executor: Executor,
        limits: LimitsSpec,
        look: Callable[[], None],
        events: EventLog,
        now: Clock,
    ) -> None:
        self._store, self._executor, self._events = store, executor, events
        self._limits, self._look, self._now = limits, look, now
        self._root = str(store.paths.root.resolve())  # workers may start in another folder
        self._launch = str(Path.cwd())
        self._numbers = count()
        self._flights: dict[int, _Submission] = {}
        self._done: SimpleQueue[tuple[int, Future[Any]]] = SimpleQueue()
        self._leaving, self._is_leaving = store.paths.leaving(secrets.token_hex(8)), False
        self.n_started = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._flights

    @property
    def has_news(self) -> bool:
        """Whether something has ended that `wait` would return at once."""
        return not self._done.empty()

    def prepare(self, pid: str, urgency: float) -> None:
        """Have a problem's data made."""
        self._prepare(_Flight(pid, None, urgency))

    def run(self, trial: Trial, urgency: float, *, prunable: bool = False) -> None:
        """Have a stored trial or reference run; the most urgent goes first where the executor can tell."""
        self.n_started += 1
        self._run(_Flight(trial.manifest.pid, trial, urgency, prunable))

    def leave(self) -> None:
        """Have nothing start any more of what waits for a worker; what runs, runs to its end."""
        with contextlib.suppress(StoreError):  # then what waits is waited for
            self._is_leaving = write_bytes(self._leaving, b"", durable=False)

    def close(self) -> None:
        """Remove what was left for workers to see."""
        if self._is_leaving:
            self._leaving.unlink(missing_ok=True)

    def wait(self, seconds: float) -> list[Prepared | Returned]:
        """Wait for something to end; return what did, in the order of submission.

        Raises:
            WorkflowError: The store, the executor or this package fails, and would for every trial.
        """
        done = []
        try:
            done.append(self._done.get(timeout=seconds))
            while True:
                done.append(self._done.get_nowait())
        except Empty:
            pass
        found = [self._landed(number, future) for number, future in sorted(done, key=lambda one: one[0])]
        return [one for one in found if one is not None]

    def overdue(self) -> list[Returned]:
        """Look after trials that are out past their deadline; return those whose outcome is on disk.

        The time in the queue does not count. A worker that holds a trial for longer is replaced, and its
        trial runs again.
        """
        found = []
        for number, one, trial in self._late():
            one.is_late = True
            outcome = self._store.outcome(trial.manifest)
            reason = "it is out past its deadline" if outcome is None else "the answer of its worker was lost"
            self._events.add(Kind.ENGINE_ERROR, trial_id=trial.manifest.trial_id, reason=reason)
            self._executor.replace(one.future)
            if outcome is not None:
                self._flights.pop(number, None)
                found.append(Returned(trial, outcome))
        return found

    def _late(self) -> list[tuple[int, _Submission, Trial]]:
        """Return the trials that have run for longer than they may take."""
        now = self._now()
        old = [
            (number, one, trial)
            for number, one in self._flights.items()
            if (trial := one.flight.trial) is not None and not one.is_late
            if now - one.at > self._limit(trial)
        ]
        status = self._executor.status() if old else None
        if status is None:
            return []
        late = []
        for number, one, trial in old:
            if one.running_since is None and self._n_before(number, one) < status.running:
                one.running_since = now
            if one.running_since is not None and now - one.running_since > self._limit(trial):
                late.append((number, one, trial))
        return late

    def _n_before(self, number: int, one: _Submission) -> int:
        """Count what may have got a worker before a submission: what came earlier or is more urgent."""
        return sum(
            other < number or two.flight.urgency > one.flight.urgency for other, two in self._flights.items()
        )

    def _limit(self, trial: Trial) -> float:
        """Return how long a trial may keep a worker, in seconds."""
        return trial.manifest.budget_sec + self._limits.grace_sec + _SLACK_SEC

    def _run(self, flight: _Flight) -> None:
        assert flight.trial is not None
        manifest = flight.trial.manifest
        names = (manifest.pid, manifest.method, manifest.trial_id)
        leaving = str(self._leaving.resolve())
        request = Request(
            self._root, *names, manifest.budget_sec, self._limits, flight.prunable, leaving, self._launch
        )
        again = flight.tries or None
        self._events.add(
            Kind.QUEUED, trial_id=manifest.trial_id, pid=manifest.pid, method=manifest.method, tries=again
        )
        if self._executor.isolates:
            self._submit(flight, supervise.run, request)
            return
        # It runs in this process, so that no one else could look after it meanwhile.
        stop = self._store.paths.stop(*names)
        hooks = worker.Hooks(is_pruned=partial(self._is_pruned, stop)) if flight.prunable else worker.ALONE
        self._submit(flight, worker.execute, request, hooks)

    def _prepare(self, flight: _Flight) -> None:
        request = Request(self._root, flight.pid, "", "", limits=self._limits, launch=self._launch)
        self._submit(flight, supervise.prepare if self._executor.isolates else worker.prepare, request)

    def _submit(self, flight: _Flight, function: Any, *args: Any) -> None:
        number = next(self._numbers)
        future = self._executor.submit(function, *args, urgency=flight.urgency)
        self._flights[number] = _Submission(flight, future, self._now())
        future.add_done_callback(lambda done: self._done.put((number, done)))

    def _is_pruned(self, stop: Path) -> bool:
        with contextlib.chdir(self._launch):  # the trial runs in a folder of its own
            self._look()
            return stop.exists()

    def _landed(self, number: int, future: Future[Any]) -> Prepared | Returned | None:
        """Return what came of a submission; None where it was submitted again."""
        submission = self._flights.pop(number, None)
        if submission is None:  # its outcome was read from disk meanwhile
            return None
        flight, error = submission.flight, future.exception()
        if isinstance(error, WorkerLost) and self._may_retry(flight, error):
            again = replace(flight, tries=flight.tries + 1)
            self._prepare(again) if again.trial is None else self._run(again)
            return None
        if flight.trial is None:
            return None if isinstance(error, NotStarted) else self._prepared(flight, error)
        if error is None:
            return self._returned(flight, Outcome.from_json(future.result()))
        if isinstance(error, NotStarted):
            self.n_started -= flight.tries == 0
            return Returned(flight.trial, None)
        if isinstance(error, WorkerLost):
            reason = f"{_one_line(error)} (tried {counted(flight.tries + 1, 'time')})"
            failure = worker.failure(flight.trial.manifest, State.LOST, reason)
            return Returned(flight.trial, self._store.commit(flight.trial.manifest, failure))
        raise self._fault(error, flight.trial.manifest.trial_id)

    def _returned(self, flight: _Flight, outcome: Outcome) -> Returned | None:
        """Return a trial with its outcome; a wrong answer is a fault of the engine's, and the files count."""
        assert flight.trial is not None
        manifest = flight.trial.manifest
        if outcome.trial_id == manifest.trial_id:
            return Returned(flight.trial, outcome)
        self._events.add(
            Kind.ENGINE_ERROR,
            about=manifest.trial_id,
            reason=f"answered with the outcome of {outcome.trial_id}",
        )
        stored = self._store.outcome(manifest)
        if stored is None:
            self._run(replace(flight, tries=flight.tries + 1))
            return None
        return Returned(flight.trial, stored)

    def _prepared(self, flight: _Flight, error: BaseException | None) -> Prepared:
        if error is None or isinstance(error, (TaskError, WorkerLost)):
            return Prepared(flight.pid, None if error is None else str(error))
        raise self._fault(error, flight.pid)

    def _may_retry(self, flight: _Flight, error: WorkerLost) -> bool:
        if flight.tries >= _RETRIES.get(type(error), _OTHER_RETRIES):
            return False
        trial_id = None if flight.trial is None else flight.trial.manifest.trial_id
        self._events.add(Kind.RETRIED, trial_id=trial_id, pid=flight.pid, reason=_one_line(error))
        return True

    def _fault(self, error: BaseException, what: str) -> BaseException:
        """Return what ends the command: no trial's doing, and no other try would help."""
        self._events.add(Kind.ENGINE_ERROR, about=what, reason=_one_line(error))
        if isinstance(error, WorkflowError):
            return error
        fault = ExecutorError(
            f"{what} cannot be run: {_one_line(error)}; this is a fault of the Parsl configuration, of Parsl "
            "or of parsl-optuna, and was not stored as the trial's result"
        )
        fault.__cause__ = error
        return fault


def _one_line(error: BaseException) -> str:
    return (f"{type(error).__name__}: {error}".splitlines() or [""])[0]
