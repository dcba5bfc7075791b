"""A folder of checkpoints as a study: which trials there are, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsl_optuna.core.objective import Objective, Scoring
from parsl_optuna.study.plan.plans import Point, RunPlan, StudyPlan
from parsl_optuna.study.plan.resolve import bind_problem
from parsl_optuna.tasks import source
from parsl_optuna.tasks.llc.along import METHOD, TASK
from parsl_optuna.tasks.llc.problem.folder import Label, files

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Along:
    """What to run.

    Attributes:
        plan: One study, of a trial per checkpoint.
        labels: Of the checkpoints, by their files as trials have them.
    """

    plan: RunPlan
    labels: Mapping[str, Label]


def plan_along(
    folder: Path, model: str, params: Mapping[str, Any], budget_sec: float, replicate: int
) -> Along:
    """Plan a trial for every checkpoint; the same file with the same settings is the same trial.

    Args:
        folder: Files of `torch.save`.
        model: ``FILE.py:NAME`` of a function that returns model, loss and data.
        params: `tasks.llc.along.Params` but for the checkpoint.
        budget_sec: Seconds per checkpoint.
        replicate: Replicate number.

    Raises:
        SpecError: No checkpoint, no such function, or a parameter that cannot be.
    """
    problem = bind_problem(TASK, {"model": model}, "--model")
    labels, points = {}, []
    for label, path in files(folder):
        name = source.relative(path)
        labels[name] = label
        one = {**params, "checkpoint": name, "digest": source.checksum(path)}
        points.append(Point(TASK.complete(problem.problem, METHOD, one, "estimate"), replicate))
    study = StudyPlan(
        pid=problem.pid,
        label=model,
        method=METHOD,
        base=points[0].hyperparams,
        budget_sec=budget_sec,
        max_trials=len(points),
        batch_size=len(points),
        points=tuple(points),
        has_best=False,
    )
    scoring = Scoring(Objective("metric", metric="llc_hat"))
    return Along(RunPlan(TASK, (problem,), (study,), scoring), labels)


def table_of(along: Along, result: Any) -> pd.DataFrame:
    """Return a row per checkpoint that has ended, in the order of the plan."""
    import pandas as pd  # noqa: PLC0415

    rows = {}
    for ended in result.studies[0].runs.values():
        outcome = ended.outcome
        seen, name = outcome.metrics, str(ended.manifest.hyperparams["checkpoint"])
        rows[name] = {
            "checkpoint": along.labels[name],
            "loss": seen.get("L0"),
            "llc": seen.get("llc_hat"),
            "se": seen.get("se_hat"),
            "status": seen.get("status", outcome.state.value),
            "reason": seen.get("status_reason", outcome.reason),
            "seconds": outcome.runtime_sec,
            "trial": outcome.trial_id,
        }
    columns = ["checkpoint", "loss", "llc", "se", "status", "reason", "seconds", "trial"]
    return pd.DataFrame([rows[name] for name in along.labels if name in rows], columns=columns).astype(
        {"reason": object, "loss": float, "llc": float, "se": float}
    )
