"""What a task is: a frozen record of functions, found by name, known to nothing above it.

YAML says ``task: ring``; `resolve_task` imports ``parsl_optuna.tasks.ring`` and takes its ``TASK``.
``package.module:NAME`` finds a task anywhere else.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import SpecError, TaskError, WorkflowError, nearest
from parsl_optuna.core.records import Comparison
from parsl_optuna.core.space import Scalar, Space
from parsl_optuna.store.checkpoint import Checkpoint

_NO_TASKS = ("base", "pictures", "source", "user_module")

Metrics = dict[str, Any]
"""What a run returns: plain JSON values; non-finite numbers become null on disk."""


def _untold(step: int, metrics: Mapping[str, Any]) -> None:
    """Drop a report that no one reads."""
    del step, metrics


def _unheard(stream: int, content: bytes) -> None:
    """Drop what a program printed."""
    del stream, content


@dataclass(frozen=True)
class Work:
    """Everything a run is handed.

    Attributes:
        problem: The resolved problem.
        method: The method's name.
        params: Complete hyperparameters.
        seed: For all randomness of this run; differs between trials.
        deadline: Started when the run starts; a run stops in time and says ``truncated``.
        prepared: Folder that the task's ``prepare`` filled, verified; None without one.
        checkpoint: For saving progress; ``load`` at the start what an earlier attempt saved.
        report: ``(step, metrics)`` tells how far the run is: metrics by the names that it will
            return. Pruners and curves live on it; at most a few times per second.
        replicate: Replicate number; equal for trials that are to be compared under the same luck.
        files: The working folder of the run, for what it leaves beside its metrics; may not be there yet.
        launch: The folder in which the command was started, for what the problem names by relative paths.
        echo: ``(1 or 2, bytes)`` keeps what a program printed on its stdout or stderr.
    """

    problem: Mapping[str, Any]
    method: str
    params: Mapping[str, Scalar]
    seed: int
    deadline: Deadline
    prepared: Path | None
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    report: Callable[[int, Mapping[str, Any]], None] = _untold
    replicate: int = 0
    files: Path | None = None
    launch: Path = field(default_factory=Path.cwd)
    echo: Callable[[int, bytes], None] = _unheard


@dataclass(frozen=True)
class Reference:
    """How a reference value is computed: an ordinary run of *method* with *params*."""

    method: str
    comparison: Comparison
    params: Mapping[str, Scalar] = field(default_factory=dict)


Chart = Literal["grouped", "reported", "verdicts", "pairs", "transfer", "bias"]


@dataclass(frozen=True)
class View:
    """A question that people ask of a task's trials, and the picture of the report that answers it.

    Attributes:
        question: The heading.
        chart: ``grouped``: a metric against a hyperparameter or metric, by colour; ``reported``: what trials
            reported,
            by colour; ``verdicts``: how trials ended, by group; ``pairs``: differences between two values of
            a hyperparameter; ``transfer``: what is best on one problem, on the others; ``bias``: against the
            reference.
        picks: What the menus of that picture show at first: metric, x, colour; metric, colour; group;
            hyperparameter.
    """

    question: str
    chart: Chart
    picks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """A plug-in.

    Attributes:
        name: As in the YAML and in every id.
        version: Bumped when the same manifest would give a different number; part of every id.
        resolve: ``(problem as written, where) -> resolved problem``, plain data; raises `SpecError`.
        methods: Names of the methods, the reference's included.
        complete: ``(resolved problem, method, params, where) -> complete params`` with defaults
            filled and types checked; raises `SpecError`. The problem is empty when only the defaults
            are to be shown.
        space: ``(resolved problem, method) -> default search space``.
        run: ``Work -> Metrics``, or ``module:name`` of it when its import is slow.
        prepare: Optional ``(resolved problem, folder)`` that fills the folder, or its name.
        reference: How its reference value is computed, if it has one.
        metric: The metric that an objective of kind ``metric`` minimises.
        objective: What a search goes by where the configuration names nothing: ``error`` or ``score``.
        untuned: The method that has nothing to tune. What a search chooses is compared with it and with the
            preset of its own method, on fresh replicates; None compares with neither.
        open_params: Whether a search space may name parameters that *complete* has no default for.
        required: ``(resolved problem, method) -> names`` of parameters that have no default: the search
            space or the first values must give them.
        objectives: Metrics that a sweep minimises when its file names the first of them.
        problem_params: Names in a flat list of parameters, as sweeps have it, that belong to the problem.
        data_params: Of those, the one that names a data set, and the one for its file: ``--data NAME=FILE``.
        foreign_params: Values for a sweep of another program that this task stands for, where its file has
            none.
        ignored_params: Names in such a list that mean nothing here.
        extends: ``method -> parameter`` that counts steps: a run with more of them, and else the same, may go
            on from the end of a shorter one, and gives what it would have given from the start.
        irrelevant: ``(method, params) -> names`` of parameters without effect, given the others.
        columns: Metrics that become typed columns of the parquet: name -> ``float|int|str|bool``.
        verdict: The column, a text, that says in a word how a run that ended ok went.
        views: What people ask of its trials, for the report.
        code_folder: ``resolved problem -> folder`` of the user's code, whose commit is recorded; relative to
            the folder in which the command was started, which it is without this.
        code_files: ``(resolved problem, launch folder) -> files`` of the user's that a run executes in other
            processes, or may read; those that it imports, or opens in Python, are known.
    """

    name: str
    version: int
    resolve: Callable[[Mapping[str, Any], str], dict[str, Any]]
    methods: tuple[str, ...]
    complete: Callable[[Mapping[str, Any], str, Mapping[str, Any], str], dict[str, Scalar]]
    space: Callable[[Mapping[str, Any], str], Space]
    run: Callable[[Work], Metrics] | str
    prepare: Callable[[Mapping[str, Any], Path], None] | str | None = None
    reference: Reference | None = None
    metric: str = "loss"
    objective: str = "error"
    untuned: str | None = None
    open_params: bool = False
    required: Callable[[Mapping[str, Any], str], tuple[str, ...]] | None = None
    objectives: tuple[str, ...] = ()
    problem_params: tuple[str, ...] = ()
    data_params: tuple[str, str] | None = None
    foreign_params: Mapping[str, Scalar] = field(default_factory=dict)
    ignored_params: tuple[str, ...] = ()
    extends: Mapping[str, str] = field(default_factory=dict)
    irrelevant: Callable[[str, Mapping[str, Any]], frozenset[str]] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    verdict: str | None = None
    views: tuple[View, ...] = ()
    code_folder: Callable[[Mapping[str, Any]], str] | None = None
    code_files: Callable[[Mapping[str, Any], Path], list[Path]] | None = None

    @property
    def comparison(self) -> Comparison | None:
        """Names of what is compared; None without a reference."""
        return None if self.reference is None else self.reference.comparison

    @property
    def result(self) -> str:
        """The metric without which a run has no result."""
        return self.metric if self.comparison is None else self.comparison.value


def resolve_task(name: str) -> Task:
    """Find a task by name, or by ``module:NAME``.

    Raises:
        SpecError: No such task.
    """
    module_name, _, attribute = name.partition(":")
    if not attribute:
        if name not in task_names():
            raise SpecError(f"no task '{name}'; {nearest(name, task_names())}, or module:NAME")
        module_name, attribute = f"parsl_optuna.tasks.{name}", "TASK"
    task = _import(module_name, attribute)
    if not isinstance(task, Task):
        raise SpecError(f"task '{name}': {attribute} is a {type(task).__name__}, not a Task record")
    return task


@functools.cache
def task_names() -> list[str]:
    """List the tasks of this package."""
    package = importlib.import_module("parsl_optuna.tasks")
    return sorted(
        module.name for module in pkgutil.iter_modules(package.__path__) if module.name not in _NO_TASKS
    )


def load_run(task: Task) -> Callable[[Work], Metrics]:
    """Return the task's ``run``, imported.

    Raises:
        SpecError: It cannot be imported.
    """
    return _loaded(task.run)


def run_task(task: Task, work: Work) -> Metrics:
    """Call the task's ``run``."""
    return load_run(task)(work)


def prepare_task(task: Task, problem: Mapping[str, Any], folder: Path) -> None:
    """Call the task's ``prepare``, which must exist."""
    if task.prepare is None:
        raise TaskError(f"task '{task.name}' has nothing to prepare")
    _loaded(task.prepare)(problem, folder)


def _loaded(function: Callable[..., Any] | str) -> Callable[..., Any]:
    if not isinstance(function, str):
        return function
    module_name, _, attribute = function.partition(":")
    return _import(module_name, attribute)


def _import(module_name: str, attribute: str) -> Any:
    try:
        module = importlib.import_module(module_name)
    except WorkflowError:
        raise
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise SpecError(f"'{module_name}' cannot be imported: {error}") from error
        raise SpecError(
            f"'{module_name}' needs torch, which is not installed; run: pip install torch"
        ) from error
    except (Exception, SystemExit) as error:
        raise SpecError(f"'{module_name}' cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise SpecError(f"'{module_name}' has no '{attribute}'; {nearest(attribute, vars(module))}")
    return getattr(module, attribute)
