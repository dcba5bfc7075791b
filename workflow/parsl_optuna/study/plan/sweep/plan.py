"""From a sweep to bound studies: one per problem that it names. Pure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from parsl_optuna.core.errors import Mistakes, SpecError, nearest
from parsl_optuna.core.ids import derive_seed
from parsl_optuna.core.objective import ERROR, Objective, Scoring
from parsl_optuna.core.space import Categorical, Dimension, Scalar, Space
from parsl_optuna.core.spec import SweepSpec
from parsl_optuna.study.plan.plans import Point, RunPlan, SearchSettings, StopRules, StudyPlan
from parsl_optuna.study.plan.resolve import ProblemPlan, bind_problem, bind_task
from parsl_optuna.study.plan.sweep.distributions import scalar
from parsl_optuna.study.plan.sweep.file import Sweep, grid, random_points
from parsl_optuna.tasks.base import Task

_ENDLESS = "never ends; give --count N, or run_cap in the file"


@dataclass(frozen=True)
class SweepPlan:
    """A bound sweep.

    Attributes:
        plan: What to run.
        n_written: Points as the file lists them; None for a search.
        n_points: Points that differ once parameters without effect are folded away; None for a search.
        notes: What people should know, a line each.
    """

    plan: RunPlan
    n_written: int | None
    n_points: int | None
    notes: tuple[str, ...]


class _Binder:
    """Sorts the parameters of a sweep into problems and hyperparameters of a task."""

    def __init__(self, sweep: Sweep, task: Task, spec: SweepSpec, where: str) -> None:
        self.sweep, self.task, self.spec, self.where = sweep, task, spec, where
        self.method = task.methods[0]
        self.problems: dict[str, ProblemPlan] = {}
        self._by_key: dict[str, ProblemPlan] = {}

    def split(self, point: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the problem and the hyperparameters of a point, as written."""
        if self.task.open_params:
            return self._program(), {name: scalar(value) for name, value in point.items()}
        problem, params = {}, {}
        for name, value in self._flat(point).items():
            if name in self.task.ignored_params:
                continue
            (problem if name in self.task.problem_params else params)[name] = value
        return problem, params

    def bind(self, raw: Mapping[str, Any]) -> ProblemPlan:
        """Return the problem; each is resolved once."""
        key = json.dumps(raw, sort_keys=True)
        if key not in self._by_key:
            problem = bind_problem(self.task, raw, f"{self.where}.parameters")
            self._by_key[key] = self.problems.setdefault(problem.pid, problem)
        return self._by_key[key]

    def complete(self, problem: ProblemPlan, params: Mapping[str, Any]) -> Mapping[str, Scalar]:
        """Return complete hyperparameters, those without effect at their defaults."""
        if self.spec.fold:
            without = self.without_effect(params)
            params = {name: value for name, value in params.items() if name not in without}
        return self.task.complete(problem.problem, self.method, params, f"{self.where}.parameters")

    def without_effect(self, params: Mapping[str, Any]) -> frozenset[str]:
        """Return the names that cannot matter, given the others."""
        irrelevant = self.task.irrelevant
        return irrelevant(self.method, params) if irrelevant is not None else frozenset()

    def _program(self) -> dict[str, Any]:
        sweep = self.sweep
        if sweep.program is None and any("${program}" in word for word in sweep.command):
            raise SpecError(f"{self.where}.program: is missing; name the script to run")
        words = [word.replace("${program}", sweep.program or "") for word in sweep.command]
        structured = [
            name
            for name, one in sweep.parameters.items()
            if any(isinstance(value, (dict, list)) for value in one.values)
        ]
        files = [sweep.program] if sweep.program is not None and words != list(sweep.command) else []
        return {"command": words, "files": files, "nested": dict(sweep.nested), "json": structured}

    def _flat(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Splice mappings into the point, their ``name`` left out: profiles of several parameters."""
        flat: dict[str, Any] = {}
        for name, value in point.items():
            if isinstance(value, Mapping):
                flat |= {key: entry for key, entry in value.items() if key != "name"}
            else:
                flat[name.rpartition(".")[2] if name.partition(".")[0] in self.sweep.nested else name] = value
        return flat


def plan_sweep(sweep: Sweep, spec: SweepSpec, where: str) -> SweepPlan:
    """Bind a sweep.

    Args:
        sweep: The sweep.
        spec: How to run it.
        where: File and key, for messages.

    Raises:
        SpecError: All mistakes, one per line.
    """
    task = _task(sweep, spec, where)
    binder = _Binder(sweep, task, spec, where)
    notes = _notes(sweep, task)
    scoring = _scoring(sweep, task, spec, where)
    cap = spec.count or sweep.run_cap
    if sweep.method == "bayes":
        if cap is None:
            raise SpecError(f"{where}.method: bayes {_ENDLESS}")
        studies = _searches(binder, cap, notes)
        written = distinct = None
    else:
        if sweep.method == "random" and cap is None:
            raise SpecError(f"{where}.method: random {_ENDLESS}")
        points = grid(sweep) if sweep.method == "grid" else random_points(sweep, cap or 0, spec.seed)
        studies, written = _lists(binder, points, cap)
        distinct = sum(study.max_trials for study in studies)
    if scoring.names != (ERROR,):
        names = ", ".join([scoring.leading, *scoring.names[1:]])
        notes.append(f"objectives: {names} (the first one leads; --objectives changes the others)")
    plan = RunPlan(
        task,
        tuple(binder.problems[pid] for pid in dict.fromkeys(study.pid for study in studies)),
        tuple(studies),
        scoring,
        spec.limits,
        spec.max_hours,
    )
    return SweepPlan(plan, written, distinct, tuple(notes))


def _task(sweep: Sweep, spec: SweepSpec, where: str) -> Task:
    """Return the task that the options name, or that the program is, or the one for programs."""
    from parsl_optuna.tasks.base import task_names  # noqa: PLC0415

    name = spec.task or (sweep.program if sweep.program in task_names() else "command")
    task = bind_task(name, where)
    if task.reference is not None or len(task.methods) > 1:
        raise SpecError(
            f"{where}.program: task '{name}' has several methods; tune it with parsl-optuna --config"
        )
    return task


def _notes(sweep: Sweep, task: Task) -> list[str]:
    ignored = [name for name in sweep.parameters if name in task.ignored_params]
    return [f"no effect here: {', '.join(ignored)}"] if ignored else []


def _scoring(sweep: Sweep, task: Task, spec: SweepSpec, where: str) -> Scoring:
    name = sweep.metric.name if sweep.metric else task.metric
    goal = sweep.metric.goal if sweep.metric else "minimize"
    if task.columns and name not in task.columns:
        raise SpecError(
            f"{where}.metric.name: task '{task.name}' has no '{name}'; {nearest(name, task.columns)}"
        )
    others = spec.objectives if spec.objectives is not None else task.objectives
    if spec.objectives is None and (not others or others[0] != name):
        others = (name,)
    rest = tuple(one for one in others if one != name)
    return Scoring(Objective("metric", metric=name, goal=goal), (ERROR, *rest))


def _lists(
    binder: _Binder, points: Iterable[Mapping[str, Any]], cap: int | None
) -> tuple[list[StudyPlan], int]:
    """Return one study of fixed points per problem, and how many points there were before folding."""
    mistakes, n_written = Mistakes(), 0
    folded: set[str] = set()
    found: dict[str, dict[str, Mapping[str, Scalar]]] = {}
    for point in points:
        n_written += 1
        with mistakes:
            raw, params = binder.split(point)
            problem = binder.bind(raw)
            without = binder.without_effect(params) if binder.spec.fold else frozenset()
            rough = json.dumps([problem.pid, {k: v for k, v in params.items() if k not in without}])
            if rough in folded:
                continue  # completing each of ten thousand equal points would take a while
            folded.add(rough)
            complete = binder.complete(problem, params)
            found.setdefault(problem.pid, {})[json.dumps(complete, sort_keys=True)] = complete
    mistakes.raise_any()
    studies, left = [], cap
    for pid, distinct in found.items():
        chosen = list(distinct.values())[:left]
        left = None if left is None else left - len(chosen)
        if chosen:
            points_of = tuple(Point(params, 0) for params in chosen)
            studies.append(_study(binder, binder.problems[pid], chosen[0], len(chosen), points=points_of))
    return studies, n_written


def _searches(binder: _Binder, cap: int, notes: list[str]) -> list[StudyPlan]:
    """Return one search per problem: values of a metric do not compare across problems."""
    sweep, task = binder.sweep, binder.task
    mistakes, dimensions = Mistakes(), {}
    for name, one in sweep.parameters.items():
        if not one.is_constant:
            with mistakes:
                dimensions[name] = one.dimension(f"{binder.where}.parameters.{name}")
    mistakes.raise_any()
    apart = [name for name in dimensions if name in task.problem_params]
    if any(not isinstance(dimensions[name], Categorical) for name in apart):
        raise SpecError(f"{binder.where}.parameters.{apart[0]}: belongs to the problem; give values")
    lists = [sweep.parameters[name].values for name in apart]
    combinations = [dict(zip(apart, values, strict=True)) for values in itertools.product(*lists)]
    if len(combinations) > 1:
        notes.append(f"{', '.join(apart)}: a search each, {cap // len(combinations) or 1} runs per search")
    inner = {
        name: dim for name, dim in dimensions.items() if name not in apart and name not in task.ignored_params
    }
    studies = []
    for combination in combinations:
        first = {name: dimension.first for name, dimension in inner.items()}
        raw, params = binder.split({**sweep.constants, **combination, **first})
        problem = binder.bind(raw)
        space, base = _without_effect(binder, problem, inner, params, notes)
        count = max(cap // len(combinations), 1)
        studies.append(_study(binder, problem, base, count, space=space))
    return studies


def _without_effect(
    binder: _Binder,
    problem: ProblemPlan,
    inner: Mapping[str, Dimension],
    params: Mapping[str, Any],
    notes: list[str],
) -> tuple[Space, Mapping[str, Scalar]]:
    """Take out of a search what cannot matter wherever it is; keep what may."""
    settled = {name: value for name, value in params.items() if name not in inner}
    without = binder.without_effect(settled) & set(inner) if binder.spec.fold else frozenset()
    if without:
        note = f"without effect here, not searched: {', '.join(sorted(without))}"
        if note not in notes:
            notes.append(note)
    kept = {name: value for name, value in params.items() if name not in without}
    complete = binder.task.complete(problem.problem, binder.method, kept, f"{binder.where}.parameters")
    return Space({name: dim for name, dim in inner.items() if name not in without}), complete


def _study(
    binder: _Binder,
    problem: ProblemPlan,
    base: Mapping[str, Scalar],
    count: int,
    *,
    space: Space | None = None,
    points: tuple[Point, ...] | None = None,
) -> StudyPlan:
    sweep, spec = binder.sweep, binder.spec
    bands, metric = sweep.bands, sweep.metric
    return StudyPlan(
        pid=problem.pid,
        label=problem.label,
        method=binder.method,
        base=base,
        budget_sec=spec.budget_sec,
        max_trials=count,
        batch_size=spec.batch_size,
        space=space or Space(),
        points=points,
        search=SearchSettings(
            seed=derive_seed("study", spec.seed, problem.pid, binder.method),
            sampler=spec.sampler,
            pruner=None if bands is None else "wandb_hyperband",
            pruner_params={} if bands is None else {k: v for k, v in vars(bands).items() if v is not None},
        ),
        stop=StopRules(target=metric.target if metric else None),
    )
