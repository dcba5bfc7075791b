"""The loop: references, then every study at once over one pool, refilled as trials end.

Decides nothing about proposals (`active`), nothing about files (`store`): it moves work.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from parsl_optuna.core.clock import Clock
from parsl_optuna.core.ended import Ended
from parsl_optuna.core.records import AFTERWARDS, Asked, Outcome, ReferenceValue, State, Trial
from parsl_optuna.execution import lifetime
from parsl_optuna.execution.backend import Executor
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.events import EventLog, Kind
from parsl_optuna.study.active import ActiveStudy
from parsl_optuna.study.dispatch import Dispatch, Prepared, Returned
from parsl_optuna.study.plan.plans import RunPlan
from parsl_optuna.study.plan.resolve import ProblemPlan
from parsl_optuna.study.progress import Snapshot, status_of
from parsl_optuna.study.record import announced, note_end
from parsl_optuna.study.stored import has_work, is_usable, runs_again, stored_outcome
from parsl_optuna.worker import execute as worker

_REFRESH_SEC = 0.5


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

    studies: tuple[ActiveStudy, ...]
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
        refresh_sec: How often to look after the executor, and at most to report.
        events: The record of what happens.
    """

    def __init__(
        self,
        plan: RunPlan,
        store: ArtifactStore,
        executor: Executor,
        observe: Callable[[Snapshot], None],
        now: Clock = time.monotonic,
        refresh_sec: float = _REFRESH_SEC,
        events: EventLog | None = None,
    ) -> None:
        self._refresh_sec, self._told_at = refresh_sec, -math.inf
        self._looked_at = -math.inf
        self._plan, self._store, self._executor = plan, store, executor
        self._observe, self._now, self._events = observe, now, events or EventLog()
        self._scoring = plan.scoring.to_json()
        self._dispatch = Dispatch(store, executor, plan.limits, self._look, self._events, now)
        self._problems = {problem.pid: problem for problem in plan.problems}
        self._index = {
            (instance.pid, study.method): index
            for index, study in enumerate(plan.studies)
            for instance in study.instances
        }
        for index, study in enumerate(plan.studies):
            for baseline in study.baselines:
                self._index.setdefault((study.pid, baseline.method), index)
        self._started_at = now()
        self._studies: dict[int, ActiveStudy] = {}
        self._stop_reasons: dict[int, str] = {}
        self._choices: dict[int, str] = {}
        self._preparing: set[str] = set()
        self._references: dict[str, ReferenceValue] = {}
        self._failures: dict[str, str] = {}
        self._ready: set[str] = set()
        self._n_ended = 0
        self._first_trial_at: float | None = None
        self._stopping = self._drained = False

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
            for news in self._dispatch.wait(self._refresh_sec):
                self._finish(news)
            self._drain()
            self._watch_time()
            self._note_stops()
            self._look_after()
            self._refill()
            self._ask_ahead()
            self._tell()
        self._dispatch.close()
        self._observe(self.snapshot())
        active = [self._studies[index] for index in sorted(self._studies)]
        studies = tuple(one for one in active if not one.state.is_waiting_for_reference)
        return RunResult(studies, self._references, self._failures, self._dispatch.n_started, self._stopping)

    def ended(self) -> Iterator[Ended]:
        """Yield every trial that has ended and is scored, confirmations too."""
        for study in self._studies.values():
            yield from study.runs.values()

    def snapshot(self) -> Snapshot:
        """Return the progress so far."""
        statuses = [
            status_of(study, self._studies.get(index), self._failures.get(study.pid))
            for index, study in enumerate(self._plan.studies)
        ]
        began = self._first_trial_at
        left_sec = None
        if self._n_ended and began is not None:  # the wait for references does not count
            left = sum(status.left for status in statuses)
            left_sec = left * (self._now() - began) / self._n_ended
        return Snapshot(
            references=sum(problem.reference is not None for problem in self._plan.problems),
            references_done=len(self._references),
            studies=tuple(statuses),
            elapsed_sec=self._now() - self._started_at,
            left_sec=left_sec,
            backend=self._executor.status(),
        )

    def _watch_time(self) -> None:
        """Let every study end with what it has when the hours of the run are over."""
        hours = self._plan.max_hours
        if hours is None or self._now() - self._started_at < 3600 * hours:
            return
        for study in self._studies.values():
            if study.is_searching and study.stopped is None:
                study.state.stopped(f"the {hours:g} hours of this invocation are over")

    def _drain(self) -> None:
        """Give back what has not started, once asked to stop; `stop` is called where little is allowed."""
        if not self._stopping and lifetime.is_over():  # the job around this command ends soon
            self.stop()
        if self._stopping and not self._drained:
            self._drained = True
            self._executor.drain()

    def _note_stops(self) -> None:
        """Put on record which studies have stopped, and by which sampler the others search."""
        for index, study in self._studies.items():
            choice, reason = study.sampler, study.stopped
            if choice is not None and self._choices.get(index) != choice.sampler:
                self._choices[index] = choice.sampler
                self._events.add(
                    Kind.SAMPLER, pid=study.study.pid, method=study.study.method, **choice._asdict()
                )
            if reason is not None and index not in self._stop_reasons:
                pid, method = study.study.pid, study.study.method
                self._events.add(Kind.STOP_RULE, pid=pid, method=method, reason=reason)
                self._stop_reasons[index] = reason

    def _look_after(self) -> None:
        """Have trials stop that are pruned, and see to those that are out past their deadline."""
        if self._now() - self._looked_at < self._refresh_sec:
            return
        self._looked_at = self._now()
        self._look()
        for news in self._dispatch.overdue():
            self._finish(news)

    def _look(self) -> None:
        for study in self._studies.values():
            if study.watch is not None:
                running = study.state.running.values()
                for manifest, reason in study.watch.look(
                    trial.manifest for trial in running if trial.asked.by not in AFTERWARDS
                ):
                    self._events.add(
                        Kind.PRUNED,
                        trial_id=manifest.trial_id,
                        pid=manifest.pid,
                        by=study.study.search.pruner,
                        reason=reason,
                    )

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
                trial_id, budget = problem.reference.trial_id, problem.reference.budget_sec
                self._events.add(
                    Kind.REFERENCE_EXTENDED, trial_id=trial_id, pid=problem.pid, budget_sec=budget
                )
                self._store.retire(problem.reference)
        if (
            task.prepare is not None
            and (problem.reference is not None or has_work(self._plan, self._store, problem.pid))
            and self._store.prepared(problem.pid) is None
        ):
            self._preparing.add(problem.pid)
            self._dispatch.prepare(problem.pid, math.inf)  # all its studies wait for it
            return
        self._go_on(problem)

    def _go_on(self, problem: ProblemPlan) -> None:
        """Start a prepared problem's reference, or its studies if it needs none."""
        if problem.reference is None:
            self._ready.add(problem.pid)
            self._start_studies(problem.pid)
            return
        trial = self._announced(Trial(problem.reference, Asked(None, "", "reference")))
        self._dispatch.run(trial, math.inf)

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
        for study in self._studies.values():
            if any(instance.pid == problem.pid for instance in study.study.instances):
                study.state.reference_ready(problem.pid, trusted)
        self._start_studies(problem.pid)

    def _start_studies(self, pid: str) -> None:
        """Start the studies that waited for a problem, and for no other one."""
        for index, study in enumerate(self._plan.studies):
            pids = {instance.pid for instance in study.instances}
            if pid in pids and pids <= self._ready and index not in self._studies:
                self._activate(index, ())

    def _start_early(self) -> None:
        """Let first trials run beside the references, once no reference waits for its problem's data.

        Not where they might be pruned: that takes the reference.
        """
        if self._preparing:
            return
        for index, study in enumerate(self._plan.studies):
            waits = {instance.pid for instance in study.instances} - self._ready
            is_early = study.points is None and study.search.pruner is None
            if is_early and index not in self._studies and not waits & self._failures.keys():
                self._activate(index, waits)

    def _activate(self, index: int, waits_for: Collection[str]) -> None:
        study = self._plan.studies[index]
        trusted = {
            instance.pid: self._references[instance.pid]
            for instance in study.instances
            if instance.pid in self._references
        }
        self._studies[index] = ActiveStudy(self._plan, study, self._store, trusted, waits_for)

    def _fail(self, pid: str, reason: str) -> None:
        """Drop a problem, and the studies that need it."""
        self._failures[pid] = reason
        for index, study in enumerate(self._plan.studies):
            if any(instance.pid == pid for instance in study.instances):
                self._studies.pop(index, None)
                self._failures.setdefault(study.pid, f"{study.label_at(pid)}: {reason}")

    # Trials.

    def _refill(self) -> None:
        """Bring every study to its number of trials in flight, one trial each in turn."""
        active = list(self._studies)
        while active and not self._stopping:
            active = [index for index in active if self._start_next(index)]

    def _ask_ahead(self) -> None:
        """Use the time until something ends."""
        waiting = list(self._studies.values())
        while waiting and not self._dispatch.has_news:
            waiting = [study for study in waiting if not self._dispatch.has_news and study.ask_ahead()]

    def _start_next(self, index: int) -> bool:
        """Start one trial of a study; return whether there may be another one."""
        study = self._studies[index]
        while (proposal := study.next()) is not None:
            trial = self._announced(proposal)
            stored = stored_outcome(self._plan, self._store, trial)
            if stored is not None and runs_again(study.study, stored):
                self._store.retire(trial.manifest)
                stored = None
            if stored is None:
                self._start(study, trial)
                return True
            study.end(trial, stored)
        return False

    def _announced(self, proposal: Trial) -> Trial:
        return announced(proposal, self._store, self._events, self._scoring)

    def _start(self, study: ActiveStudy, trial: Trial) -> None:
        if self._first_trial_at is None:
            self._first_trial_at = self._now()
        study.start(trial)
        self._dispatch.run(trial, study.shortest_left_sec, prunable=study.watch is not None)

    def _finish(self, news: Prepared | Returned) -> None:
        if isinstance(news, Prepared):
            self._preparing.discard(news.pid)
            if news.error is not None:
                self._fail(news.pid, f"it cannot be prepared: {news.error}")
            else:
                self._go_on(self._problems[news.pid])
            self._start_early()
            return
        manifest, outcome = news.trial.manifest, news.outcome
        if outcome is not None:
            note_end(self._events, manifest, outcome)
        if manifest.role == "reference":
            if outcome is not None:
                self._adopt(self._problems[manifest.pid], outcome)
            return
        study = self._studies.get(self._index[manifest.pid, manifest.method])
        if outcome is not None:
            self._n_ended += 1
        if study is not None and outcome is not None:
            study.end(news.trial, outcome)
        elif study is not None:
            study.state.lost(manifest.trial_id)
