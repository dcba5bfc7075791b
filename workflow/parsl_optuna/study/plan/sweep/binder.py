"""The parameters of a sweep, sorted into problems and hyperparameters of a task. Pure."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.load import scalar_1_2
from parsl_optuna.core.space import Scalar
from parsl_optuna.core.spec import SweepSpec
from parsl_optuna.study.plan.resolve import ProblemPlan, bind_problem
from parsl_optuna.study.plan.sweep.distributions import scalar
from parsl_optuna.study.plan.sweep.file import Sweep
from parsl_optuna.study.plan.sweep.parameters import Inherited
from parsl_optuna.study.plan.sweep.winners import Winners
from parsl_optuna.tasks import source
from parsl_optuna.tasks.base import Task
from parsl_optuna.tasks.command.macros import macros_inside


class Binder:
    """Binds the points of one sweep to one task.

    Args:
        sweep: The sweep.
        task: The task.
        spec: How to run it.
        winners: For parameters that other sweeps give.
        where: File and key, for messages.

    Attributes:
        method: The task's only method.
        problems: All that were bound, by id.
    """

    def __init__(self, sweep: Sweep, task: Task, spec: SweepSpec, winners: Winners, where: str) -> None:
        self.sweep, self.task, self.spec, self.where = sweep, task, spec, where
        self.method = task.methods[0]
        self.problems: dict[str, ProblemPlan] = {}
        self._winners = winners
        self._by_key: dict[str, ProblemPlan] = {}

    @property
    def foreign(self) -> dict[str, Any]:
        """Parameters for a sweep of another program, where its file says nothing of them."""
        if self.sweep.program in (None, self.task.name):
            return {}
        known = {name.rpartition(".")[2] for name in self.sweep.parameters}
        return {name: value for name, value in self.task.foreign_params.items() if name not in known}

    def place(self, point: Mapping[str, Any]) -> tuple[ProblemPlan, dict[str, Any]]:
        """Return the problem of a point, and its hyperparameters as written, inherited ones filled in."""
        raw, params = self._split(point)
        problem = self._bind(raw)
        for name, value in params.items():
            if isinstance(value, Inherited):
                place = f"{self.where}.parameters.{value.name}"
                found = self._winners.value(value.folder, value.name, problem.pid, problem.label, place)
                params[name] = found
        return problem, params

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

    def _split(self, point: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the problem and the hyperparameters of a point, as written."""
        if self.task.open_params:
            known = self.sweep.parameters
            return self._program, {
                name: scalar(value, known.get(name)) for name, value in {**point, **self.spec.params}.items()
            }
        problem, params = {}, {}
        for name, value in {**self.foreign, **self._flat(point), **self.spec.params}.items():
            if name in self.task.ignored_params:
                continue
            # A program would read the text of its command line; a task takes what that text means.
            known = scalar_1_2(value) if isinstance(value, str) else value
            (problem if name in self.task.problem_params else params)[name] = known
        given = [name for name, value in problem.items() if isinstance(value, Inherited)]
        if given:
            raise SpecError(f"{self.where}.parameters.{given[0]}: belongs to the problem; give its value")
        if self.task.data_params is not None:
            name, file = self.task.data_params
            source = self.spec.data.get(str(problem.get(name)))
            if source is not None:
                problem.setdefault(file, source)
        return problem, params

    def _bind(self, raw: Mapping[str, Any]) -> ProblemPlan:
        """Return the problem; each is resolved once."""
        key = json.dumps(raw, sort_keys=True)
        if key not in self._by_key:
            problem = bind_problem(self.task, raw, f"{self.where}.parameters")
            self._by_key[key] = self.problems.setdefault(problem.pid, problem)
        return self._by_key[key]

    @functools.cached_property  # the same at every point
    def _program(self) -> dict[str, Any]:
        sweep = self.sweep
        if sweep.program is None and "${program}" in sweep.command:
            raise SpecError(
                f"{self.where}.program: is missing; name the script to run, or one that calls wandb.agent"
            )
        is_used = sweep.program is not None and "${program}" in sweep.command
        files = [self._file_of(sweep.program)] if sweep.program is not None and is_used else []
        words = [str(sweep.program) if word == "${program}" else word for word in sweep.command]
        structured = [name for name, one in sweep.parameters.items() if one.is_json]
        problem: dict[str, Any] = {
            "command": words,
            "files": files,
            "nested": dict(sweep.nested),
            "json": structured,
        }
        if macros_inside(words):
            problem["whole_words"] = True
        if sweep.metric is not None and sweep.metric.summary == "best":
            problem["best"] = {sweep.metric.name: sweep.metric.goal}
        return problem

    def _file_of(self, program: str) -> str:
        """Return the file that a program is, or the module behind ``-m``."""
        if ("-m", "${program}") in itertools.pairwise(self.sweep.command):
            path = program.replace(".", "/")
            for file in (f"{path}.py", f"{path}/__main__.py"):
                if source.find(file) is not None:
                    return file
            raise SpecError(
                f"{self.where}.program: no module '{program}' in {Path.cwd()}; start the command where "
                f"{path}.py is, or write the module as a word of command in the place of ${{program}}"
            )
        if source.find(program) is not None:
            return program
        script = program.split(" ", maxsplit=1)[0]
        cure = "give its path from there"
        if script != program and source.find(script) is not None:
            cure = f"give {script} alone, and its arguments as words of command"
        raise SpecError(f"{self.where}.program: no file '{program}' in {Path.cwd()}; {cure}")

    def _flat(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Splice mappings into the point, their ``name`` left out: profiles of several parameters."""
        flat: dict[str, Any] = {}
        for name, value in point.items():
            if isinstance(value, Mapping):
                flat |= {key: entry for key, entry in value.items() if key != "name"}
            else:
                outer, _, last = name.rpartition(".")
                flat[last if outer in self.sweep.nested else name] = value
        return flat
