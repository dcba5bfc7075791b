"""From a typed configuration to bound studies. Pure: no file is written, no worker started."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from parsl_optuna.core.errors import Mistakes, SpecError, nearest
from parsl_optuna.core.fidelity import Fidelity
from parsl_optuna.core.ids import derive_seed, group_id
from parsl_optuna.core.load import assign, read_yaml, structure
from parsl_optuna.core.mistakes import block_of
from parsl_optuna.core.objective import ERROR, Objective, Scoring
from parsl_optuna.core.records import Manifest
from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.core.space import Scalar, Space, is_among
from parsl_optuna.core.spec import RunSpec
from parsl_optuna.study.plan.merge import merge_space
from parsl_optuna.study.plan.plans import (
    Baseline,
    ProblemInstance,
    Replication,
    RunPlan,
    SearchSettings,
    StopRules,
    StudyPlan,
)
from parsl_optuna.study.plan.resolve import ProblemPlan, bind_problem, bind_task, distinct_problems
from parsl_optuna.study.plan.warmstart import read_points
from parsl_optuna.tasks.base import Task


def load_run(path: Path, assignments: Sequence[str] = ()) -> RunSpec:
    """Read a tuning configuration, *assignments* (``KEY=VALUE``) laid over it.

    Raises:
        SpecError: All mistakes of shape at once.
    """
    return structure(RunSpec, assigned(path, assignments, RunSpec), f"{path} $")


def assigned(path: Path, assignments: Sequence[str], record: type[Any]) -> dict[str, Any]:
    """Read a file for *record*, with assignments over it; a key of the block ``cluster`` may stand alone."""
    data = read_yaml(path)
    cluster, known = ({entry.name for entry in fields(cls)} for cls in (ClusterSpec, record))
    for text in assignments:
        name, equals, _ = text.partition("=")
        if equals and "." not in name and name not in {*cluster, *known}:
            block = block_of(name, record)
            hint = f"did you mean '{block}.{name}'?" if block else nearest(name, {*cluster, *known})
            raise SpecError(f"--set {text}: unknown key '{name}'; {hint}")
        assign(data, f"cluster.{text}" if name in cluster and equals else text)
    return data


def plan_run(spec: RunSpec, where: str) -> RunPlan:
    """Bind a tuning configuration.

    Args:
        spec: The configuration.
        where: Its file, for messages.

    Raises:
        SpecError: All mistakes, one per line.
    """
    task = bind_task(spec.task, where)
    mistakes = Mistakes()
    if not spec.methods and len(task.methods) == 1:
        spec = replace(spec, methods=task.methods)
    if not spec.methods:
        mistakes.add(f"{where} $.methods is empty; name one or more of: {', '.join(task.methods)}")
    for index, method in enumerate(spec.methods):
        if method not in task.methods:
            mistakes.add(f"{where} $.methods[{index}]: no method '{method}'; {nearest(method, task.methods)}")
    for block, keys in (("search_space", spec.search_space), ("enqueue", spec.enqueue)):
        for method in keys:
            if method not in spec.methods:
                mistakes.add(
                    f"{where} $.{block}.{method}: is not one of methods; {nearest(method, spec.methods)}"
                )
    if spec.optuna.constraints and spec.optuna.sampler_name == "cmaes":
        mistakes.add(
            f"{where} $.optuna.sampler: 'cmaes' knows no constraints; take rank_gp, tpe, gp or nsgaii"
        )
    objective = Objective()
    with mistakes:
        objective = _objective(task, spec.optuna.objective, f"{where} $.optuna.objective")
    problems = []
    for index, raw in enumerate(spec.problems):
        with mistakes:
            problem = bind_problem(task, raw, f"{where} $.problems[{index}]")
            manifest = _reference(task, problem, spec, f"{where} $.reference")
            problems.append(ProblemPlan(problem.pid, problem.label, problem.problem, manifest))
    mistakes.raise_any()
    studies: list[StudyPlan] = []
    problems = distinct_problems(problems, where, mistakes)
    for problem in problems:
        for method in spec.methods:
            with mistakes:
                studies.append(_study(task, spec, problem, method, where))
            if spec.optuna.has_own_search and len(studies) == 1:
                with mistakes:
                    _try_search(studies[0], spec, where)
    mistakes.raise_any()
    if spec.optuna.across is not None:
        studies = _across(studies, spec, where)
    return RunPlan(
        task,
        tuple(problems),
        tuple(studies),
        Scoring(objective, _names(task, spec), spec.optuna.goals, spec.optuna.parsed_constraints),
        spec.limits,
        spec.optuna.max_hours,
    )


def _try_search(study: StudyPlan, spec: RunSpec, where: str) -> None:
    """Make the sampler and the pruner, so that mistakes are told before anything runs."""
    from parsl_optuna.study.search.pruners import make_pruner  # noqa: PLC0415  Optuna takes a second to load
    from parsl_optuna.study.search.search import Search  # noqa: PLC0415

    try:
        Search(study, max(len(spec.optuna.objective_names), 1))
        if study.search.pruner is not None:
            make_pruner(study.search.pruner, study.search.pruner_params, study.pid)
    except SpecError as error:
        raise SpecError(f"{where} {error}") from error


def _across(studies: Sequence[StudyPlan], spec: RunSpec, where: str) -> list[StudyPlan]:
    """Return one study per method over all problems."""
    if len(spec.problems) < 2:
        raise SpecError(f"{where} $.optuna.across: needs two problems or more")
    found, mistakes = [], Mistakes()
    for method in spec.methods:
        first, *others = (study for study in studies if study.method == method)
        for one in others:
            for name in {**first.space.dimensions, **one.space.dimensions}:
                if any(
                    getattr(first.space, part).get(name) != getattr(one.space, part).get(name)
                    for part in ("dimensions", "conditions")
                ):
                    mistakes.add(
                        f"{where} $.search_space.{method}.{name}: differs between {first.label} and "
                        f"{one.label}; with across, give it for all"
                    )
        instances = tuple(ProblemInstance(one.pid, one.label, one.base) for one in (first, *others))
        pid = group_id([instance.pid for instance in instances])
        label = f"{spec.optuna.across} of {len(instances)} problems"
        search = replace(first.search, seed=derive_seed("study", spec.optuna.seed, pid, method))
        replication = replace(first.replication, across=spec.optuna.across)
        found.append(
            replace(
                first,
                pid=pid,
                label=label,
                search=search,
                replication=replication,
                instances=instances,
                baselines=(),
            )
        )
    mistakes.raise_any()
    return found


def _reference(task: Task, problem: ProblemPlan, spec: RunSpec, where: str) -> Manifest | None:
    if task.reference is None:
        if spec.reference:
            raise SpecError(f"{where}: task '{task.name}' has no reference; remove it")
        return None
    method, budget_sec = task.reference.method, spec.optuna.hmc_budget_sec
    params = task.complete(problem.problem, method, {**task.reference.params, **spec.reference}, where)
    return Manifest(task.name, task.version, "reference", problem.pid, method, params, 0, budget_sec)


def _names(task: Task, spec: RunSpec) -> tuple[str, ...]:
    """Return the names of the objectives; a kind of error that is asked for is what the search goes by."""
    given = spec.optuna.objective_names
    return given or (task.objective if spec.optuna.objective is None else ERROR,)


def _objective(task: Task, raw: Any, where: str) -> Objective:
    raw = "abs" if raw is None else raw
    if isinstance(raw, dict) and "metric" in raw:
        raw = {"type": "metric", **raw}
    objective = structure(Objective, {"type": raw} if isinstance(raw, str) else raw, where)
    if objective.type != "metric" and task.reference is None:
        objective = Objective("metric", metric=task.metric, goal=objective.goal)
    if objective.type == "metric" and objective.metric is None:
        objective = Objective("metric", metric=task.metric, goal=objective.goal)
    return objective


def _study(task: Task, spec: RunSpec, problem: ProblemPlan, method: str, where: str) -> StudyPlan:
    optuna = spec.optuna
    place = f"{where} $.search_space.{method}"
    complete = partial(task.complete, problem.problem, method)
    changes = _with_rungs(spec.search_space.get(method, {}), optuna.fidelity, place)
    defaults = complete({}, place)
    if task.open_params:
        defaults = dict.fromkeys(changes) | defaults
    space = merge_space(task.space(problem.problem, method), changes, defaults, place)
    # What varies is checked too: each dimension's first value stands for it.
    sample = {name: dimension.first for name, dimension in space.dimensions.items()}
    base = complete({**sample, **space.fixed}, place)
    # What is inactive is left to the task: absent where it takes any names, else its default.
    conditional = {*space.conditions, *(changes.keys() - space.dimensions.keys() - space.fixed.keys())}
    for name in task.required(problem.problem, method) if task.required is not None else ():
        if name not in base:
            raise SpecError(f"{place}.{name}: is missing; the argument has no default, so say what it may be")
        if name in conditional:
            raise SpecError(
                f"{place}.{name}.when: the argument has no default for when it is inactive; give it one"
            )
    for name in conditional:
        if task.open_params:
            base.pop(name, None)
        else:
            base[name] = defaults[name]
    guesses = []
    for index, guess in enumerate(spec.enqueue.get(method, [])):
        spot = f"{where} $.enqueue.{method}[{index}]"
        guesses.append(_guess(complete, space, guess, spot))
    tables = [
        read_points(entry, method, space, f"{where} $.warm_start[{index}]", optuna.parsed_constraints)
        for index, entry in enumerate(spec.warm_start)
    ]
    return StudyPlan(
        pid=problem.pid,
        label=problem.label,
        method=method,
        base=base,
        budget_sec=optuna.method_budget_sec,
        max_trials=optuna.max_trials,
        batch_size=optuna.batch_size,
        space=space.varying,
        search=SearchSettings(
            seed=derive_seed("study", optuna.seed, problem.pid, method),
            sampler=optuna.sampler_name,
            sampler_params=optuna.sampler_params,
            n_startup_trials=optuna.n_startup_trials,
            enqueue=tuple(guesses),
            learned=tuple(known for points, _ in tables for known in points),
            left_out=tuple(text for _, text in tables if text is not None),
            pruner=optuna.pruner_name,
            pruner_params=optuna.pruner_params,
            fidelity=optuna.fidelity,
        ),
        stop=StopRules(optuna.stop_after_failures, optuna.target, optuna.patience, optuna.terminator),
        replication=Replication(optuna.replicates, optuna.aggregate, confirm=optuna.confirm),
        baselines=_baselines(task, spec, problem, method, complete(space.fixed, place)),
    )


def _with_rungs(changes: Mapping[str, Any], fidelity: Fidelity | None, where: str) -> Mapping[str, Any]:
    """Return the search space with the rungs of a fidelity as ordered choices."""
    if fidelity is None:
        return changes
    if fidelity.parameter in changes:
        raise SpecError(f"{where}.{fidelity.parameter}: optuna.fidelity says what it may be; remove it here")
    return {**changes, fidelity.parameter: {"choices": list(fidelity.rungs), "ordered": True}}


def _baselines(
    task: Task, spec: RunSpec, problem: ProblemPlan, method: str, preset: Mapping[str, Scalar]
) -> tuple[Baseline, ...]:
    """Return the preset, with what the configuration fixes; of a problem's first method also `untuned`."""
    if task.untuned is None:
        return ()
    found = [Baseline("preset", method, preset)]
    if method == spec.methods[0] and task.untuned not in spec.methods:
        params = task.complete(problem.problem, task.untuned, {}, task.untuned)
        found.append(Baseline(task.untuned, task.untuned, params))
    return tuple(found)


def _guess(
    completed: Callable[[Mapping[str, Any], str], Mapping[str, Scalar]],
    space: Space,
    guess: Mapping[str, Any],
    where: str,
) -> Mapping[str, Scalar]:
    known = space.dimensions
    guess = {name: known[name].stored(value) if name in known else value for name, value in guess.items()}
    complete = completed(guess, where)
    for name in guess:
        dimension = space.dimensions.get(name)
        if dimension is None:
            raise SpecError(f"{where}.{name}: does not vary in this study; {nearest(name, space.dimensions)}")
        if not dimension.contains(complete[name]):
            raise SpecError(f"{where}.{name}: {guess[name]} is outside the search space; widen it there")
    values = {name: complete[name] for name in guess}
    for name in reversed(space.ordered):  # what makes a value active is part of the guess
        for parent, allowed in space.conditions.get(name, {}).items() if name in values else ():
            if not is_among(values.setdefault(parent, allowed[0]), allowed):
                raise SpecError(
                    f"{where}.{name}: is inactive at {parent} = {values[parent]}; remove one of them"
                )
    return values
