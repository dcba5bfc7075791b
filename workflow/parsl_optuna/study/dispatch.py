"""Carries work to an executor and back, and submits again what was lost with its worker."""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal

from parsl_optuna.core.errors import (
    BlockLost,
    ExecutorError,
    NodeReclaimed,
    NotStarted,
    StoreError,
    WorkerLost,
    WorkflowError,
)
from parsl_optuna.core.records import Asked, Manifest, Outcome, Request, State
from parsl_optuna.core.resources import LimitsSpec
from parsl_optuna.execution.backend import Executor
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.atomic import write_bytes
from parsl_optuna.study.plan.resolve import ProblemPlan
from parsl_optuna.worker import execute as worker
from parsl_optuna.worker import supervise

_RETRIES = {NodeReclaimed: 1000, BlockLost: 10}
"""A trial that is lost in such a way is submitted again so many times; in any other way, twice."""


@dataclass(frozen=True)
class Job:
    """A piece of work: a problem's data, its reference, or a trial of a study, which is told by its index.

    The most urgent go first; what studies wait for is more urgent than any trial.
    """

    kind: Literal["prepare", "reference", "trial"]
    problem: ProblemPlan
    manifest: Manifest | None = None
    asked: Asked | None = None
    urgency: float = math.inf
    study: int | None = None
    prunable: bool = False
    tries: int = 0


Result = Outcome | str | None
"""What came of a job: of a trial or reference its outcome, or None where it did not start; of data None, or
why they cannot be made."""


class Dispatch:
    """The jobs that are on their way.

    Args:
        store: Where what runs is kept.
        executor: Where it runs.
        limits: What a trial may take besides its budget.
        look: Reads what running trials report, and asks those to stop that are given up.

    Attributes:
        n_started: How many jobs were submitted, each counted once.
    """

    def __init__(
        self,
        store: ArtifactStore,
        executor: Executor,
        limits: LimitsSpec,
        look: Callable[[], None],
    ) -> None:
        self._store, self._executor = store, executor
        self._limits, self._look = limits, look
        self._root = str(store.paths.root.resolve())  # workers may start in another folder
        self._numbers = count()
        self._running: dict[int, Job] = {}
        self._done: SimpleQueue[tuple[int, Future[Any]]] = SimpleQueue()
        self._leaving, self._has_word_out = store.paths.leaving(secrets.token_hex(8)), False
        self.n_started = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._running

    @property
    def has_news(self) -> bool:
        """Whether something has ended that `wait` would return at once."""
        return not self._done.empty()

    def prepare(self, problem: ProblemPlan) -> None:
        """Have a problem's data made."""
        self._prepare(Job("prepare", problem))

    def leave(self) -> None:
        """Have nothing start any more of what waits for a worker; what runs, runs to its end."""
        with contextlib.suppress(StoreError):  # then what waits is waited for
            self._has_word_out = write_bytes(self._leaving, b"", durable=False)

    def close(self) -> None:
        """Take back what was left for workers to see."""
        if self._has_word_out:
            self._leaving.unlink(missing_ok=True)

    def run(self, job: Job) -> None:
        """Have a reference or trial run."""
        assert job.manifest is not None
        self.n_started += job.tries == 0
        manifest = job.manifest
        names = (manifest.pid, manifest.method, manifest.trial_id)
        leaving = str(self._leaving.resolve())
        request = Request(self._root, *names, manifest.budget_sec, self._limits, job.prunable, leaving)
        if self._executor.isolates:
            self._submit(job, supervise.run, request)
            return
        # It runs in this process, so that no one else could look after it meanwhile.
        stop = self._store.paths.stop(*names)
        hooks = worker.Hooks(is_pruned=partial(self._is_pruned, stop)) if job.prunable else worker.ALONE
        self._submit(job, worker.execute, request, hooks)

    def wait(self, seconds: float) -> list[tuple[Job, Result]]:
        """Wait for something to end; return what did, in the order of submission.

        Raises:
            WorkflowError: The store or the backend fails, and would for every trial.
        """
        done = []
        try:
            done.append(self._done.get(timeout=seconds))
            while True:
                done.append(self._done.get_nowait())
        except Empty:
            pass
        results = []
        for number, future in sorted(done, key=lambda entry: entry[0]):
            job = self._running.pop(number)
            error = future.exception()
            if job.kind == "prepare":
                results += self._prepared(job, error)
            elif isinstance(error, NotStarted):
                self.n_started -= job.tries == 0
                results.append((job, None))
            else:
                outcome = Outcome.from_json(future.result()) if error is None else self._lost(job, error)
                results += [] if outcome is None else [(job, outcome)]
        return results

    def _is_pruned(self, stop: Path) -> bool:
        self._look()
        return stop.exists()

    def _prepare(self, job: Job) -> None:
        self._submit(job, worker.prepare, self._root, job.problem.pid)

    def _submit(self, job: Job, function: Any, *args: Any) -> None:
        number = next(self._numbers)
        self._running[number] = job
        future = self._executor.submit(function, *args, urgency=job.urgency)
        future.add_done_callback(lambda done: self._done.put((number, done)))

    def _prepared(self, job: Job, error: BaseException | None) -> list[tuple[Job, Result]]:
        if isinstance(error, WorkerLost) and _may_retry(job, error):
            self._prepare(replace(job, tries=job.tries + 1))
            return []
        if isinstance(error, (ExecutorError, StoreError)):
            raise error
        return [(job, None if error is None else _one_line(error))]

    def _lost(self, job: Job, error: BaseException) -> Outcome | None:
        """Submit a trial again whose worker did not come back; give it up after some tries."""
        assert job.manifest is not None
        if isinstance(error, WorkflowError) and not isinstance(error, WorkerLost):
            raise error
        if _may_retry(job, error):
            self.run(replace(job, tries=job.tries + 1))
            return None
        reason = f"{_one_line(error)} (tried {job.tries + 1} times)"
        return self._store.commit(job.manifest, worker.failure(job.manifest, State.LOST, reason))


def _may_retry(job: Job, error: BaseException) -> bool:
    return job.tries < _RETRIES.get(type(error), 2)


def _one_line(error: BaseException) -> str:
    return (f"{type(error).__name__}: {error}".splitlines() or [""])[0]
