"""From a sweep to bound studies: one per problem that it names. Pure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from parsl_optuna.core.counted import noun
from parsl_optuna.core.errors import Mistakes, SpecError, nearest
from parsl_optuna.core.ids import derive_seed
from parsl_optuna.core.objective import ERROR, Goal, Objective, Scoring
from parsl_optuna.core.space import Categorical, Dimension, Scalar, Space
from parsl_optuna.core.spec import SweepSpec
from parsl_optuna.study.plan.plans import Point, RunPlan, SearchSettings, StopRules, StudyPlan
from parsl_optuna.study.plan.resolve import ProblemPlan, bind_task
from parsl_optuna.study.plan.sweep.binder import Binder
from parsl_optuna.study.plan.sweep.file import Sweep
from parsl_optuna.study.plan.sweep.points import grid, grid_size, random_points
from parsl_optuna.study.plan.sweep.winners import Winners
from parsl_optuna.tasks.base import Task

_MOST_RUNS = 100_000
"""A driver keeps every point in memory, and the artifacts a folder for each."""


@dataclass(frozen=True)
class SweepPlan:
    """A bound sweep.

    Attributes:
        plan: What to run.
        n_written: Points as the file lists or draws them; None for a search.
        n_points: Points that run; None for a search.
        head: How many runs there will be, and why.
        notes: What people should know, a line each.
    """

    plan: RunPlan
    n_written: int | None
    n_points: int | None
    head: str
    notes: tuple[str, ...]


@dataclass
class _Listed:
    """Fixed points, by problem and by their JSON.

    Attributes:
        found: The points that run.
        n_drawn: How many were looked at.
        n_distinct: How many of those differ as they are written.
        is_cut: Whether the cap ended the list.
    """

    found: dict[str, dict[str, Mapping[str, Scalar]]]
    n_drawn: int
    n_distinct: int
    is_cut: bool

    @property
    def n_points(self) -> int:
        return sum(map(len, self.found.values()))


def plan_sweep(sweep: Sweep, spec: SweepSpec, where: str, winners: Winners | None = None) -> SweepPlan:
    """Bind a sweep.

    Args:
        sweep: The sweep.
        spec: How to run it.
        where: File and key, for messages.
        winners: What other sweeps found, for parameters given as ``from: FOLDER``.

    Raises:
        SpecError: All mistakes, one per line.
    """
    task = _task(sweep, spec, where)
    winners = winners or Winners({})
    binder = Binder(sweep, task, spec, winners, where)
    notes = [*sweep.notes, *_notes(sweep, task, spec, binder.foreign)]
    scoring = _scoring(sweep, task, spec, where)
    cap = spec.count or sweep.run_cap
    if cap is None and sweep.method != "grid":
        raise SpecError(
            f"{where}.method: {sweep.method} never ends; give --count N, as in "
            f"parsl-optuna sweep {spec.file} --count 50, or run_cap in the file"
        )
    is_search = sweep.method == "bayes" and not all(one.is_constant for one in sweep.parameters.values())
    if sweep.method == "bayes" and not is_search:
        notes.append("method bayes: nothing varies, which is one run")
    if is_search:
        studies = _searches(binder, cap or 0, notes)
        written = distinct = None
        count = sum(study.max_trials for study in studies)
        head = f"{count:,} {noun(count, 'run')} by search (sampler {spec.sampler})"
    else:
        listed = _listed(binder, cap)
        studies = _lists(binder, listed)
        written = listed.n_drawn if sweep.method == "random" else grid_size(sweep)
        distinct = listed.n_points
        head = _head(sweep, spec, listed)
    if len(scoring.names) > 1:
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
    return SweepPlan(plan, written, distinct, head, tuple(dict.fromkeys([*notes, *winners.notes])))


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


def _notes(sweep: Sweep, task: Task, spec: SweepSpec, foreign: Mapping[str, Any]) -> list[str]:
    ignored = [name for name in sweep.parameters if name in task.ignored_params]
    notes = [f"no effect here: {', '.join(ignored)}"] if ignored else []
    if sweep.metric is None and task.open_params:
        notes.append("the file names no metric: runs are compared by the time that they take (runtime_sec)")
    here = {name: value for name, value in foreign.items() if name not in spec.params}
    if here:
        listed = ", ".join(f"{name}={value}" for name, value in here.items())
        notes.append(
            f"{sweep.program} is another program: {task.name} takes {listed} (--set params.NAME=VALUE)"
        )
    if spec.data and task.data_params is None:
        notes.append(f"--data: no effect: task '{task.name}' takes no files of data")
    return notes


def _scoring(sweep: Sweep, task: Task, spec: SweepSpec, where: str) -> Scoring:
    if sweep.metric is None and task.open_params and spec.objectives is None:
        return Scoring(Objective("metric", metric="runtime_sec"))
    name = sweep.metric.name if sweep.metric else task.metric
    goal = sweep.metric.goal if sweep.metric else "minimize"
    if task.columns and name not in task.columns:
        raise SpecError(
            f"{where}.metric.name: task '{task.name}' has no '{name}'; {nearest(name, task.columns)}"
        )
    if sweep.metric is not None and sweep.metric.summary == "best" and not task.open_params:
        raise SpecError(f"{where}.metric.summary: task '{task.name}' gives one value per run; leave it out")
    goals: dict[str, Goal] = {one.name: one.goal for one in sweep.others}
    others = tuple(goals) or task.objectives
    if spec.objectives is not None:
        others = spec.objectives
    elif not goals and (not others or others[0] != name):
        others = (name,)
    rest = tuple(one for one in others if one != name)
    return Scoring(Objective("metric", metric=name, goal=goal), (ERROR, *rest), goals)


def _listed(binder: Binder, cap: int | None) -> _Listed:
    """Go through the points until they, or the cap, end."""
    sweep, spec = binder.sweep, binder.spec
    points: Iterable[Mapping[str, Any]] = grid(sweep)
    if sweep.method == "random":
        points = random_points(sweep, cap or 0, spec.seed)
    mistakes = Mistakes()
    written: set[str] = set()
    folded: set[str] = set()
    listed = _Listed({}, 0, 0, is_cut=False)
    n_found = 0
    for point in points:
        if n_found == cap and sweep.method == "grid":
            listed.is_cut = True
            break
        listed.n_drawn += 1
        if sweep.method == "random":
            written.add(json.dumps(point, default=repr))
        with mistakes:
            problem, params = binder.place(point)
            without = binder.without_effect(params) if spec.fold else frozenset()
            rough = json.dumps([problem.pid, {k: v for k, v in params.items() if k not in without}])
            if rough in folded:
                continue  # completing each of ten thousand equal points would take a while
            folded.add(rough)
            complete = binder.complete(problem, params)
            here = listed.found.setdefault(problem.pid, {})
            before = len(here)
            here[json.dumps(complete, sort_keys=True)] = complete
            n_found += len(here) - before
        if n_found > _MOST_RUNS:
            mistakes.add(
                f"{binder.where}.method: this is a grid of {grid_size(sweep):,} points; say how many to run: "
                f"parsl-optuna sweep {spec.file} --count 1000"
            )
            break
    mistakes.raise_any()
    listed.n_distinct = len(written) if sweep.method == "random" else listed.n_drawn
    return listed


def _head(sweep: Sweep, spec: SweepSpec, listed: _Listed) -> str:
    """Say how many runs there are, of how many points, and what was left out why."""
    n, drawn, differ = listed.n_points, listed.n_drawn, listed.n_distinct
    left_out = "once parameters without effect are left out (--no-fold keeps them)"
    if sweep.method == "random":
        equal = "" if differ == drawn else f", {differ:,} distinct (equal draws are one run)"
        return f"{drawn:,} random {noun(drawn, 'draw')}{equal}" + (
            "" if n == differ else f", {n:,} {left_out}"
        )
    size = grid_size(sweep)
    if not listed.is_cut:
        return f"{size:,} {noun(size, 'point')}" + ("" if n == size else f", {n:,} {left_out}")
    cap = f"--count {n}" if spec.count else f"run_cap {n}"
    skipped = "" if n == drawn else f"; {drawn:,} looked at, {n:,} {left_out}"
    return f"the first {n:,} of {size:,} points ({cap}){skipped}"


def _lists(binder: Binder, listed: _Listed) -> list[StudyPlan]:
    """Return one study of fixed points per problem."""
    studies = []
    for pid, distinct in listed.found.items():
        chosen = list(distinct.values())
        points = tuple(Point(params, 0) for params in chosen)
        studies.append(_study(binder, binder.problems[pid], chosen[0], len(chosen), points=points))
    return studies


def _searches(binder: Binder, cap: int, notes: list[str]) -> list[StudyPlan]:
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
        per_search = cap // len(combinations) or 1
        notes.append(f"{', '.join(apart)}: a search each, {per_search} {noun(per_search, 'run')} per search")
    inner = {
        name: dim
        for name, dim in dimensions.items()
        if name not in apart and name not in task.ignored_params and name not in binder.spec.params
    }
    studies = []
    for combination in combinations:
        first = {name: dimension.first for name, dimension in inner.items()}
        problem, params = binder.place({**sweep.constants, **combination, **first})
        space, base = _without_effect(binder, problem, inner, params, notes)
        count = max(cap // len(combinations), 1)
        studies.append(_study(binder, problem, base, count, space=space))
    return studies


def _without_effect(
    binder: Binder,
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
    binder: Binder,
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
        stop=StopRules(spec.stop_after_failures, target=metric.target if metric else None),
    )
