"""What a run would do, from the plan and the artifacts. Starts nothing, writes nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.active import ActiveStudy
from parsl_optuna.study.plan.plans import RunPlan, StudyPlan
from parsl_optuna.study.plan.resolve import ProblemPlan
from parsl_optuna.study.search import confirm
from parsl_optuna.study.stored import is_usable


@dataclass(frozen=True)
class Line:
    """One reference or study of a plan.

    Attributes:
        kind: ``reference`` or ``study``.
        pid: The problem's id.
        problem: Its label.
        method: The method.
        cached: How many are there already.
        missing: How many would run, the best point's fresh seeds included.
        budget_sec: Time allowed for each.
        space: Search space, by parameter.
        mean_sec: What those that are there took on average; None without any.
    """

    kind: str
    pid: str
    problem: str
    method: str
    cached: int
    missing: int
    budget_sec: float
    space: dict[str, str]
    mean_sec: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def text(self) -> str:
        """Return one line for people."""
        head = f"{self.kind:9}  {self.pid}  {self.problem:32}  {self.method:6}"
        return f"{head}  {self.cached} cached, {self.missing} to run"


def forecast(plan: RunPlan, store: ArtifactStore) -> list[Line]:
    """Return a line per reference and study, in the order of the plan."""
    lines = [_reference(problem, store) for problem in plan.problems if problem.reference]
    return lines + [_study(plan, study, store) for study in plan.studies]


def runtimes(plan: RunPlan, study: StudyPlan, store: ArtifactStore) -> list[float]:
    """Return the runtimes of a study's trials that are there."""
    return [ended.outcome.runtime_sec for ended in ActiveStudy(plan, study, store, {}).runs.values()]


def _study(plan: RunPlan, study: StudyPlan, store: ArtifactStore) -> Line:
    took = runtimes(plan, study, store)
    missing = max(study.max_trials * study.n_runs - len(took), 0)
    fresh = confirm.most(study) * len(study.instances) + study.n_baseline_runs if missing else 0
    return Line(
        "study",
        study.pid,
        study.label,
        study.method,
        len(took),
        missing + fresh,
        study.budget_sec,
        study.space.describe(),
        fmean(took) if took else None,
    )


def _reference(problem: ProblemPlan, store: ArtifactStore) -> Line:
    assert problem.reference is not None
    manifest = problem.reference
    stored = store.outcome(manifest)
    is_there = stored is not None and is_usable(stored, manifest.budget_sec)
    return Line(
        "reference",
        problem.pid,
        problem.label,
        manifest.method,
        int(is_there),
        int(not is_there),
        manifest.budget_sec,
        {},
    )
