"""From a production configuration to bound studies of fixed points. Pure, as `plan`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from parsl_optuna.core.errors import Mistakes, SpecError
from parsl_optuna.core.load import structure
from parsl_optuna.core.space import Scalar
from parsl_optuna.core.spec import FixedSpec, SamplerSpec
from parsl_optuna.study.plan.plans import Point, RunPlan, StudyPlan
from parsl_optuna.study.plan.resolve import ProblemPlan, bind_problem, bind_task, distinct_problems
from parsl_optuna.study.plan.tuning import assigned
from parsl_optuna.tasks.base import Task


def load_fixed(path: Path, assignments: Sequence[str] = ()) -> FixedSpec:
    """Read a production configuration as `load_run` reads a tuning one."""
    return structure(FixedSpec, assigned(path, assignments, FixedSpec), f"{path} $")


def plan_fixed(
    spec: FixedSpec, where: str, tuned: Mapping[tuple[str, str, str], Mapping[str, Scalar]]
) -> RunPlan:
    """Bind a production configuration.

    Args:
        spec: The configuration.
        where: Its file, for messages.
        tuned: Best hyperparameters by (results folder, pid, method), for ``best_from``.

    Raises:
        SpecError: All mistakes, one per line.
    """
    task = bind_task(spec.task, where)
    mistakes = Mistakes()
    problems = []
    for index, raw in enumerate(spec.problems):
        with mistakes:
            problems.append(bind_problem(task, raw, f"{where} $.problems[{index}]"))
    mistakes.raise_any()
    studies = []
    problems = distinct_problems(problems, where, mistakes)
    for problem in problems:
        for index, sampler in enumerate(spec.samplers):
            with mistakes:
                place = f"{where} $.samplers[{index}]"
                studies.append(_fixed_study(task, spec, problem, sampler, tuned, place))
    mistakes.raise_any()
    return RunPlan(task, tuple(problems), tuple(studies), limits=spec.limits)


def _fixed_study(
    task: Task,
    spec: FixedSpec,
    problem: ProblemPlan,
    sampler: SamplerSpec,
    tuned: Mapping[tuple[str, str, str], Mapping[str, Scalar]],
    where: str,
) -> StudyPlan:
    best: Mapping[str, Scalar] = {}
    if sampler.best_from is not None:
        key = (sampler.best_from, problem.pid, sampler.name)
        if key not in tuned:
            raise SpecError(
                f"{where}.best_from: '{sampler.best_from}' has no tuned {sampler.name} for {problem.pid} "
                f"({problem.label}); tune it first"
            )
        best = tuned[key]
    params = task.complete(problem.problem, sampler.name, {**best, **sampler.overrides}, f"{where}.overrides")
    points = tuple(Point(params, seed) for seed in sampler.seeds)
    return StudyPlan(
        pid=problem.pid,
        label=problem.label,
        method=sampler.name,
        base=params,
        budget_sec=spec.budget_sec,
        max_trials=len(points),
        batch_size=spec.batch_size,
        points=points,
    )
