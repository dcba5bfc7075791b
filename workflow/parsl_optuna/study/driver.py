"""The loop: references, then every study at once over one pool, refilled as trials end.

Decides nothing about proposals (`trials`), nothing about files (`store`): it moves work.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from parsl_optuna.core.clock import Clock, utc_now
from parsl_optuna.core.records import Asked, Outcome, ReferenceValue, State
from parsl_optuna.execution.backend import Executor
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.dispatch import Dispatch, Job, Result
from parsl_optuna.study.plan.plans import RunPlan
from parsl_optuna.study.plan.resolve import ProblemPlan
from parsl_optuna.study.search.points import Next, Trials
from parsl_optuna.study.stored import uncollected
from parsl_optuna.worker import execute as worker

_REFRESH_SEC = 0.5


@dataclass(frozen=True)
class StudyStatus:
    """One line of progress."""

    label: str
    pid: str
    method: str
    ended: int
    failed: int
    running: int
    max_trials: int
    best: float | None
    note: str | None


@dataclass(frozen=True)
class Snapshot:
    """Progress of a run, for display.

    Attributes:
        references: How many the run needs.
        references_done: How many it has.
        studies: One status each.
        elapsed_sec: Since the start.
        left_sec: Estimate from the trials of this run; None before the first one ends.
    """

    references: int
    references_done: int
    studies: tuple[StudyStatus, ...]
    elapsed_sec: float
    left_sec: float | None


@dataclass(frozen=True)
class RunResult:
    """What a run leaves.

    Attributes:
        studies: Those that could start, in the order of the plan.
        references: By problem id.
        failures: Problem id -> why its studies could not start.
        n_started: References and trials that this run submitted.
        interrupted: Whether it was asked to stop.
    """

    studies: tuple[Trials, ...]
    references: Mapping[str, ReferenceValue]
    failures: Mapping[str, str]
    n_started: int
    interrupted: bool


class Driver:
    """Runs a plan to its end.

    Args:
        plan: What to run.
        store: Where everything is kept.
        executor: Where it runs.
        observe: Called with a snapshot about every *refresh_sec*.
        now: Monotonic clock.
        refresh_sec: How often to look after the backend, and at most to tell.
    """

    def __init__(
        self,
        plan: RunPlan,
        store: ArtifactStore,
        executor: Executor,
        observe: Callable[[Snapshot], None],
        now: Clock = time.monotonic,
        refresh_sec: float = _REFRESH_SEC,
    ) -> None:
        self._refresh_sec, self._told_at = refresh_sec, -math.inf
        self._looked_at = -math.inf
        self._plan, self._store, self._executor = plan, store, executor
        self._observe, self._now = observe, now
        self._objective = plan.scoring.to_json()
        self._dispatch = Dispatch(store, executor, plan.limits, self._look)
        self._problems = {problem.pid: problem for problem in plan.problems}
        self._started_at = now()
        self._trials: dict[int, Trials] = {}
        self._preparing: set[str] = set()
        self._references: dict[str, ReferenceValue] = {}
        self._failures: dict[str, str] = {}
        self._ready: set[str] = set()
        self._n_ended = 0
        self._first_trial_at: float | None = None
        self._stopping = False

    def stop(self) -> None:
        """Start nothing more, not even what waits for a worker; what runs is waited for."""
        self._stopping = True
        self._dispatch.leave()

    def run(self) -> RunResult:
        """Run until every study is done, or until stopped and nothing runs.

        Raises:
            WorkflowError: The store or the executor fails. A failing trial or problem does not raise.
        """
        for problem in self._plan.problems:
            self._open(problem)
        self._start_early()
        self._refill()
        self._observe(self.snapshot())
        while not self._dispatch.is_idle:
            self._executor.check()
            for job, result in self._dispatch.wait(self._refresh_sec):
                self._finish(job, result)
            self._watch_time()
            self._prune()
            self._refill()
            self._ask_ahead()
            self._tell()
        self._dispatch.close()
        self._observe(self.snapshot())
        studies = tuple(
            self._trials[index] for index in sorted(self._trials) if not self._trials[index].early
        )
        return RunResult(studies, self._references, self._failures, self._dispatch.n_started, self._stopping)

    def snapshot(self) -> Snapshot:
        """Return the progress so far."""
        statuses = tuple(self._status(index) for index in range(len(self._plan.studies)))
        return Snapshot(
            sum(problem.reference is not None for problem in self._plan.problems),
            len(self._references),
            statuses,
            self._now() - self._started_at,
            self._left_sec(statuses),
        )

    def _watch_time(self) -> None:
        """Let every study end with what it has when the hours of the run are over."""
        hours = self._plan.max_hours
        if hours is None or self._now() - self._started_at < 3600 * hours:
            return
        for trials in self._trials.values():
            if trials.is_searching and trials.stopped is None:
                trials.stopped = f"the {hours:g} hours of the run are over"

    def _prune(self) -> None:
        """Read what running trials report, and have those stop that are given up."""
        if self._now() - self._looked_at < self._refresh_sec:
            return
        self._looked_at = self._now()
        self._look()

    def _look(self) -> None:
        for trials in self._trials.values():
            if trials.watch is not None:
                trials.watch.look(one.manifest for one in trials.running.values() if one.by != "confirm")

    def _tell(self) -> None:
        """Show the progress, but not after every trial where they end by the hundred."""
        if self._now() - self._told_at >= self._refresh_sec:
            self._told_at = self._now()
            self._observe(self.snapshot())

    # Problems.

    def _open(self, problem: ProblemPlan) -> None:
        """Start a problem's studies, or what has to come before them."""
        task = self._plan.task
        self._store.put_problem(task.name, task.version, problem.problem, problem.label)
        if problem.reference is not None:
            stored = self._store.outcome(problem.reference)
            if stored is not None and is_usable(stored, problem.reference.budget_sec):
                self._adopt(problem, stored)
                return
            if stored is not None:
                self._store.retire(problem.reference)
        if (
            task.prepare is not None
            and (problem.reference is not None or self._has_work(problem))
            and self._store.prepared(problem.pid) is None
        ):
            self._preparing.add(problem.pid)
            self._dispatch.prepare(problem)
            return
        self._go_on(problem)

    def _go_on(self, problem: ProblemPlan) -> None:
        """Start a prepared problem's reference, or its studies if it needs none."""
        if problem.reference is None:
            self._ready.add(problem.pid)
            self._start_studies(problem.pid)
            return
        asked = self._store.put_manifest(problem.reference, Asked(None, utc_now(), "reference"))
        self._dispatch.run(Job("reference", problem, problem.reference, asked))

    def _has_work(self, problem: ProblemPlan) -> bool:
        """Whether a search runs on a problem, or fixed points without an outcome."""
        studies = [s for s in self._plan.studies if any(site.pid == problem.pid for site in s.sites)]
        return any(
            study.points is None
            or any(
                self._store.outcome(self._plan.manifest(study, point.hyperparams, point.seed)) is None
                for point in study.points
            )
            for study in studies
        )

    def _adopt(self, problem: ProblemPlan, outcome: Outcome) -> None:
        """Use the outcome of a reference, publishing it again if another one is published."""
        assert problem.reference is not None
        assert self._plan.task.reference is not None
        if outcome.state is not State.OK:
            self._fail(problem.pid, f"its reference failed: {outcome.reason}")
            return
        names = self._plan.task.reference.comparison
        trusted = self._store.reference(problem.pid, names.reference, names.reference_se)
        if trusted is None or trusted.trial_id != outcome.trial_id:
            worker.publish(self._store, problem.reference, outcome)
            trusted = self._store.reference(problem.pid, names.reference, names.reference_se)
        assert trusted is not None
        self._references[problem.pid] = trusted
        self._ready.add(problem.pid)
        self._start_studies(problem.pid)

    def _start_studies(self, pid: str) -> None:
        """Start the studies that waited for a problem, and for no other one."""
        for index, study in enumerate(self._plan.studies):
            pids = {site.pid for site in study.sites}
            if pid in pids and pids <= self._ready:
                trusted = {one: self._references[one] for one in pids & self._references.keys()}
                with uncollected():
                    trials = Trials(self._plan, study, self._store, trusted)
                if index in self._trials:
                    trials.take_over(self._trials[index].running)
                self._trials[index] = trials

    def _start_early(self) -> None:
        """Let first trials run beside the references, once no reference waits for its problem's data.

        Not where they might be given up: that takes the reference.
        """
        if self._preparing:
            return
        for index, study in enumerate(self._plan.studies):
            pids = {site.pid for site in study.sites}
            waits = pids - self._ready
            searches = study.points is None and study.search.pruner is None
            if searches and index not in self._trials and not waits & self._failures.keys():
                self._trials[index] = Trials(self._plan, study, self._store, {}, early=True)

    def _fail(self, pid: str, reason: str) -> None:
        """Give a problem up, and the studies that need it."""
        self._failures[pid] = reason
        for index, study in enumerate(self._plan.studies):
            if any(site.pid == pid for site in study.sites):
                self._trials.pop(index, None)
                self._failures.setdefault(study.pid, f"{study.label_at(pid)}: {reason}")

    # Trials.

    def _refill(self) -> None:
        """Bring every study to its number of trials in flight, one task each in turn."""
        active = list(self._trials)
        while active and not self._stopping:
            active = [index for index in active if self._start_next(index)]

    def _ask_ahead(self) -> None:
        """Use the time until something ends."""
        for trials in self._trials.values():
            if self._dispatch.has_news:
                return
            trials.ask_ahead()

    def _start_next(self, index: int) -> bool:
        """Start one task of a study; return whether there may be another one."""
        trials = self._trials[index]
        while (proposal := trials.next()) is not None:
            job = self._announce(index, proposal)
            if job is not None:
                self._start(job)
                return True
        return False

    def _announce(self, index: int, proposal: Next) -> Job | None:
        """Store a trial that is to start; return it as a job, or None if its outcome is known."""
        trials, manifest = self._trials[index], proposal.manifest
        asked = self._store.put_manifest(manifest, replace(_asked(proposal), objective=self._objective))
        stored = self._store.outcome(manifest)
        if stored is not None and trials.has_another_chance(stored):
            self._store.retire(manifest)
            stored = None
        if stored is not None:
            trials.end(manifest.trial_id, asked, stored)
            return None
        prunable = trials.watch is not None
        return Job(
            "trial", self._problems[manifest.pid], manifest, asked, trials.shortest_left_sec, index, prunable
        )

    def _start(self, job: Job) -> None:
        if self._first_trial_at is None:
            self._first_trial_at = self._now()
        self._dispatch.run(job)

    def _finish(self, job: Job, result: Result) -> None:
        if job.kind == "prepare":
            self._preparing.discard(job.problem.pid)
            if isinstance(result, str):
                self._fail(job.problem.pid, f"it cannot be prepared: {result}")
            else:
                self._go_on(job.problem)
            self._start_early()
            return
        trials = None if job.study is None else self._trials.get(job.study)
        if job.manifest is None or job.asked is None:
            return
        if not isinstance(result, Outcome):  # it did not start
            if trials is not None:
                trials.running.pop(job.manifest.trial_id, None)
        elif job.kind == "reference":
            self._adopt(job.problem, result)
        else:
            self._n_ended += 1
            if trials is not None:
                trials.end(job.manifest.trial_id, job.asked, result)

    # Progress.

    def _status(self, index: int) -> StudyStatus:
        study = self._plan.studies[index]
        trials = self._trials.get(index)
        if trials is None:
            note = self._failures.get(study.pid, "waits for its problem")
            return StudyStatus(study.label, study.pid, study.method, 0, 0, 0, study.max_trials, None, note)
        best = trials.best()
        return StudyStatus(
            study.label,
            study.pid,
            study.method,
            len(trials.ended),
            trials.n_failed if trials.search else _bad(trials),
            len(trials.running),
            study.max_trials,
            None if best is None else next(iter(best.objectives.values())),
            "its reference is running" if trials.early else trials.stopped,
        )

    def _left_sec(self, statuses: tuple[StudyStatus, ...]) -> float | None:
        """Extrapolate the rate at which trials ended; the wait for references does not count."""
        if not self._n_ended or self._first_trial_at is None:
            return None
        left = sum(
            max(status.max_trials - status.ended, 0) + self._plan.studies[index].replication.confirm
            for index, status in enumerate(statuses)
        )
        confirmed = sum(len(trials.confirmed) for trials in self._trials.values())
        return (left - confirmed) * (self._now() - self._first_trial_at) / self._n_ended


def is_usable(outcome: Outcome, budget_sec: float) -> bool:
    """Whether a stored reference serves: it ran, and a larger budget could not improve it."""
    if outcome.state is not State.OK:
        return False
    return outcome.metrics.get("status", "ok") == "ok" or outcome.budget_sec >= budget_sec


def _asked(proposal: Next) -> Asked:
    return Asked(proposal.number, utc_now(), proposal.by, proposal.attempt, proposal.extends)


def _bad(trials: Trials) -> int:
    return sum(entry.outcome.state not in (State.OK, State.PRUNED) for entry in trials.ended.values())
