"""Trials that a person or another program runs: asked for one by one, and told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsl_optuna.api import session
from parsl_optuna.core.errors import SpecError, TaskError
from parsl_optuna.core.objective import finite
from parsl_optuna.core.records import Outcome, State, Trial
from parsl_optuna.store import document
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.events import EventLog
from parsl_optuna.store.layout import Results, check_apart
from parsl_optuna.store.lease import Lease
from parsl_optuna.tasks.function import as_metrics
from parsl_optuna.worker import outcomes
from parsl_optuna.worker.classify import asked_metrics, checked, classify, missing
from parsl_optuna.worker.provenance import versions

if TYPE_CHECKING:
    from parsl_optuna.core.spec import RunSpec
    from parsl_optuna.study.active import ActiveStudy
    from parsl_optuna.study.plan.plans import RunPlan


@dataclass(frozen=True)
class AskedTrial:
    """A trial to run.

    Attributes:
        trial_id: Its id, the same as that of a trial which a worker runs.
        number: Of its point; None of a fresh replicate that confirms one.
        params: The hyperparameters, complete.
        method: Name of the method.
        problem: Label of the problem.
        replicate: Which of a point's replicates it is, from 0.
    """

    trial_id: str
    number: int | None
    params: Mapping[str, Any]
    method: str
    problem: str
    replicate: int


class ByHand:
    """The trials of a plan, run by someone else.

    Every call reads what is on disk anew, and holds the results folder while it lasts: what other processes,
    or a run of the same study, have added counts.

    Args:
        spec: The configuration.
        plan: The plan made from it.
        results: Where tables are written.
    """

    def __init__(self, spec: RunSpec, plan: RunPlan, results: Results) -> None:
        if plan.task.reference is not None:
            raise SpecError(
                f"the task '{plan.task.name}' compares with a reference, which only run() makes; ask() and "
                "tell() go with tasks without one"
            )
        self._spec, self._plan, self._results = spec, plan, results
        self._store = ArtifactStore(Path(spec.artifacts_dir))
        self._since: dict[str, float] = {}

    def ask(self) -> AskedTrial | None:
        """Do what `Study.ask` says."""
        self._store.check_writable()
        check_apart(self._store.paths.root, self._results.root)
        with Lease(self._results.lease):
            events = EventLog(self._results.events)
            for problem in self._plan.problems:
                task = self._plan.task
                self._store.put_problem(task.name, task.version, problem.problem, problem.label)
            session.write_config(asdict(self._spec), self._results)
            n_out = 0
            try:
                for active in self._active():
                    trial = self._next(active, events)
                    if trial is not None:
                        return self._handed_out(trial, active)
                    n_out += len(active.state.running)
            finally:
                events.close()
        if n_out:
            raise SpecError(
                f"ask: {n_out} {'trial is' if n_out == 1 else 'trials are'} asked for and not told, and no "
                f"other can be asked for now (batch_size {self._spec.optuna.batch_size}); tell one first"
            )
        return None

    def tell(
        self,
        trial: AskedTrial | str,
        result: Any = None,
        failed: str | None = None,
        runtime_sec: float | None = None,
    ) -> Outcome:
        """Do what `Study.tell` says; return the outcome as it is stored."""
        name = trial if isinstance(trial, str) else trial.trial_id
        if (result is None) == (failed is None):
            raise SpecError(f"tell {name}: give either a result or failed='why'")
        if runtime_sec is not None and (finite(runtime_sec) is None or runtime_sec < 0):
            raise SpecError(f"tell {name}: runtime_sec must be seconds, 0 or more, got {runtime_sec!r}")
        with Lease(self._results.lease):
            found = self._found(name)
            ended = self._store.outcome(found.manifest)
            if ended is not None:
                raise SpecError(
                    f"tell {name}: it has ended already, as {ended.state.value}; ask for another one"
                )
            outcome = self._store.commit(found.manifest, self._outcome(found, result, failed, runtime_sec))
            self._since.pop(name, None)
            self._record(found, outcome)
            self._collect()
        return outcome

    def _next(self, active: ActiveStudy, events: EventLog) -> Trial | None:
        from parsl_optuna.study.record import announced  # noqa: PLC0415  the rooms of a study take a second to load
        from parsl_optuna.study.stored import outcome_of  # noqa: PLC0415

        while (proposal := active.next()) is not None:
            trial = announced(proposal, self._store, events, self._plan.scoring.to_json())
            outcome = outcome_of(self._plan, active.study, self._store, trial)
            if outcome is not None:
                active.end(trial, outcome)
            elif trial.manifest.trial_id in self._since:
                active.start(trial)
            else:
                if self._store.outcome(trial.manifest) is not None:
                    self._store.retire(trial.manifest)
                return trial
        return None

    def _handed_out(self, trial: Trial, active: ActiveStudy) -> AskedTrial:
        manifest = trial.manifest
        self._since[manifest.trial_id] = time.monotonic()
        return AskedTrial(
            manifest.trial_id,
            trial.asked.number,
            dict(manifest.hyperparams),
            manifest.method,
            active.study.label_at(manifest.pid),
            manifest.seed,
        )

    def _outcome(self, trial: Trial, result: Any, failed: str | None, runtime_sec: float | None) -> Outcome:
        manifest, task = trial.manifest, self._plan.task
        began = self._since.get(manifest.trial_id)
        if runtime_sec is None:
            runtime_sec = 0.0 if began is None else time.monotonic() - began
        metrics, state, reason = {}, State.FAILED, failed
        if failed is None:
            try:
                metrics = checked(as_metrics(result, task.metric))
            except TaskError as error:
                raise SpecError(f"tell {manifest.trial_id}: {error}") from error
            state, reason = classify(task, metrics, trial.asked.objective)
            for wanted in asked_metrics(task, trial.asked.objective):
                if wanted not in metrics:  # a slip of who tells, and no trial's end
                    raise SpecError(f"tell {manifest.trial_id}: {missing(wanted, metrics)}")
        return outcomes.ended(
            manifest, state, reason, runtime_sec=runtime_sec, versions=versions(), metrics=metrics
        )

    def _found(self, trial_id: str) -> Trial:
        for study in self._plan.studies:
            for instance in study.instances:
                for manifest, asked in self._store.manifests(instance.pid, study.method):
                    if manifest.trial_id == trial_id:
                        return Trial(manifest, asked)
        raise SpecError(f"tell {trial_id}: no trial of this study has this id; take one that ask() returned")

    def _record(self, trial: Trial, outcome: Outcome) -> None:
        from parsl_optuna.study.record import note_end  # noqa: PLC0415

        events = EventLog(self._results.events)
        note_end(events, trial.manifest, outcome)
        events.close()

    def _collect(self) -> None:
        """Write the table and the best points, as a run does."""
        from parsl_optuna.report.best import best_points  # noqa: PLC0415
        from parsl_optuna.study.driver import RunResult  # noqa: PLC0415

        studies = self._active()
        for active in studies:
            self._confirm(active)
        result = RunResult(tuple(studies), {}, {}, 0, False)
        session.save(self._plan, result, self._results)
        document.write(self._results.best, {"studies": best_points(result)})

    def _confirm(self, active: ActiveStudy) -> None:
        """Take the confirmations that have ended; they are on disk, but no part of the search."""
        while not active.is_searching and (proposal := active.next()) is not None:
            outcome = self._store.outcome(proposal.manifest)
            if outcome is None:
                return
            active.end(self._found(proposal.manifest.trial_id), outcome)

    def _active(self) -> list[ActiveStudy]:
        from parsl_optuna.study.active import ActiveStudy  # noqa: PLC0415

        return [ActiveStudy(self._plan, study, self._store, {}) for study in self._plan.studies]
