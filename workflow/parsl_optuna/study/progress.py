"""How far an invocation is, for display. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from parsl_optuna.core.digits import FEW, digits_of
from parsl_optuna.execution.backend import BackendStatus
from parsl_optuna.study.active import ActiveStudy
from parsl_optuna.study.plan.plans import StudyPlan
from parsl_optuna.study.search import confirm


@dataclass(frozen=True)
class StudyStatus:
    """One line of progress.

    Attributes:
        label: The problem's label.
        pid: The problem's id.
        method: Name of the method.
        ended: Points that have ended.
        failed: Those among them that failed.
        running: Trials that were submitted.
        max_trials: Points in all.
        best: Best first objective so far, as people see it.
        note: Why it waits or has stopped.
        left: Points and confirmations that are still to come.
        digits: How many of *best* tell it from others of the study.
    """

    label: str
    pid: str
    method: str
    ended: int
    failed: int
    running: int
    max_trials: int
    best: float | None
    note: str | None
    left: int = 0
    digits: int = FEW


@dataclass(frozen=True)
class Snapshot:
    """Progress of a run, for display.

    Attributes:
        references: How many the run needs.
        references_done: How many it has.
        studies: One status each.
        elapsed_sec: Since the start.
        backend: What runs and waits at the executor; None where nothing can be queued.
        left_sec: Estimate from the trials of this run; None before the first one ends.
    """

    references: int
    references_done: int
    studies: tuple[StudyStatus, ...]
    elapsed_sec: float
    left_sec: float | None
    backend: BackendStatus | None = None


def status_of(study: StudyPlan, active: ActiveStudy | None, failure: str | None) -> StudyStatus:
    """Return the progress of a study.

    Args:
        study: The study.
        active: Its state; None before it starts, or when it cannot.
        failure: Why it cannot start.
    """
    status = StudyStatus(
        label=study.label,
        pid=study.pid,
        method=study.method,
        ended=0,
        failed=0,
        running=0,
        max_trials=study.max_trials,
        best=None,
        note=failure or "waits for its problem",
        left=study.max_trials + confirm.most(study) + study.n_baseline_runs,
    )
    if active is None:
        return status
    state, best = active.state, active.best()
    return replace(
        status,
        ended=len(state.points),
        failed=state.n_failed,
        running=len(state.running),
        best=None if best is None or not study.has_best else next(iter(best.objectives.values())),
        digits=digits_of(next(iter(one.objectives.values()), None) for one in state.points.values()),
        note="its reference is running" if state.is_waiting_for_reference else active.stopped,
        left=max(study.max_trials - len(state.points), 0)
        + max(confirm.most(study) - len(state.confirmed) // len(study.instances), 0)
        + max(study.n_baseline_runs - len(state.baselines), 0),
    )
