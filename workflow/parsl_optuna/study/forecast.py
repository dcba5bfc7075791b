"""What a run would do, from the plan and the artifacts. Starts nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from parsl_optuna.core.records import Manifest, Outcome
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
    for study in plan.studies:
        wanted = study.max_trials * study.n_runs
        took = [outcome.runtime_sec for _, outcome in _ended(plan, study, store)]
        ended = len(took)
        missing = max(wanted - ended, 0)
        fresh = confirm.most(study) * len(study.instances) if missing else 0
        lines.append(
            Line(
                "study",
                study.pid,
                study.label,
                study.method,
                ended,
                missing + fresh,
                study.budget_sec,
                study.space.describe(),
                fmean(took) if took else None,
            )
        )
    return lines


def runtimes(plan: RunPlan, store: ArtifactStore) -> dict[tuple[str, str], list[float]]:
    """Return the runtimes of the trials that are there, by problem and method."""
    found: dict[tuple[str, str], list[float]] = {}
    for study in plan.studies:
        for manifest, outcome in _ended(plan, study, store):
            found.setdefault((manifest.pid, manifest.method), []).append(outcome.runtime_sec)
    return found


def _ended(plan: RunPlan, study: StudyPlan, store: ArtifactStore) -> Iterator[tuple[Manifest, Outcome]]:
    """Yield those trials of a study that have an outcome."""
    for ended in ActiveStudy(plan, study, store, {}).runs.values():
        yield ended.manifest, ended.outcome


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
