"""What a driver needs of a run, as frozen records: its problems, its studies, and how trials are scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from parsl_optuna.core.fidelity import Fidelity
from parsl_optuna.core.objective import Scoring
from parsl_optuna.core.records import Manifest
from parsl_optuna.core.resources import LimitsSpec
from parsl_optuna.core.space import Scalar, Space, uneven
from parsl_optuna.study.plan.resolve import ProblemPlan
from parsl_optuna.study.plan.warmstart import Learned
from parsl_optuna.tasks.base import Task

Slot = tuple[int, int]
"""Index of the instance and replicate number: which of a point's trials."""

FIRST: Slot = (0, 0)


@dataclass(frozen=True)
class Point:
    """A fixed trial of a study: complete hyperparameters and a replicate number."""

    hyperparams: Mapping[str, Scalar]
    seed: int


@dataclass(frozen=True)
class Baseline:
    """What needs no tuning, and is run beside the choice of a search.

    Attributes:
        name: What people call it.
        method: Name of the method.
        hyperparams: Complete hyperparameters.
    """

    name: str
    method: str
    hyperparams: Mapping[str, Scalar]


@dataclass(frozen=True)
class ProblemInstance:
    """A problem that a study runs on.

    Attributes:
        pid: The problem's id.
        label: The problem's label.
        base: Complete hyperparameters for it.
    """

    pid: str
    label: str
    base: Mapping[str, Scalar]


@dataclass(frozen=True)
class SearchSettings:
    """How a search proposes points.

    Attributes:
        seed: Seed of all proposals.
        sampler: Name of the sampler.
        sampler_params: The sampler's own parameters.
        n_startup_trials: Random trials first.
        enqueue: First guesses, complete or partial.
        learned: Points that the search knows from elsewhere.
        left_out: What is not taken from the tables that these points are in.
        pruner: Name of the pruner, which stops unpromising trials early; None lets all run to their end.
        pruner_params: The pruner's own parameters.
        fidelity: The rungs of trials that begin short; None runs all at full length.
    """

    seed: int = 0
    sampler: str = "random"
    sampler_params: Mapping[str, Any] = field(default_factory=dict)
    n_startup_trials: int = 10
    enqueue: tuple[Mapping[str, Scalar], ...] = ()
    learned: tuple[Learned, ...] = ()
    left_out: tuple[str, ...] = ()
    pruner: str | None = None
    pruner_params: Mapping[str, Any] = field(default_factory=dict)
    fidelity: Fidelity | None = None


@dataclass(frozen=True)
class StopRules:
    """When a study ends before all its trials have run.

    Attributes:
        after_failures: Stop when so many trials have ended and not one succeeded; 0 never does.
        target: Stop when the first objective is at least as good as this.
        patience: Stop after so many trials without an improvement.
        terminator: Whether Optuna's terminator may stop it.
    """

    after_failures: int = 0
    target: float | None = None
    patience: int | None = None
    terminator: bool = False


@dataclass(frozen=True)
class Replication:
    """How often every point runs, and how its trials become one value.

    Attributes:
        replicates: Trials per point and problem.
        aggregate: ``mean`` or ``median`` of them.
        across: How values of several problems become one: ``mean``, ``worst`` or ``rank``; None: one problem.
        confirm: Further replicates of the leading points at the end; 0 of an objective without noise.
    """

    replicates: int = 1
    aggregate: str = "mean"
    across: str | None = None
    confirm: int = 0


@dataclass(frozen=True)
class StudyPlan:
    """One (problem, method): a search, or a list of fixed points.

    Attributes:
        pid: The problem's id; of several problems ``g_`` and a hash of theirs.
        label: The problem's label.
        method: Name of the method.
        base: Complete hyperparameters; those of *space* replace some of them.
        budget_sec: Time per trial.
        max_trials: Points in all.
        batch_size: Trials in flight.
        space: What varies.
        points: Fixed trials instead of a search.
        search: How points are proposed.
        stop: When the study ends early.
        replication: How often every point runs.
        instances: The problems that every point runs on; left out, it is the one.
        baselines: What its choice is compared with, on as many fresh replicates as that is confirmed on.
        has_best: Whether one of its points is the best; of checkpoints along a training run none is.
    """

    pid: str
    label: str
    method: str
    base: Mapping[str, Scalar]
    budget_sec: float
    max_trials: int
    batch_size: int
    space: Space = field(default_factory=Space)
    points: tuple[Point, ...] | None = None
    search: SearchSettings = field(default_factory=SearchSettings)
    stop: StopRules = field(default_factory=StopRules)
    replication: Replication = field(default_factory=Replication)
    instances: tuple[ProblemInstance, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    has_best: bool = True

    def __post_init__(self) -> None:
        if not self.instances:
            object.__setattr__(self, "instances", (ProblemInstance(self.pid, self.label, self.base),))

    @property
    def n_runs(self) -> int:
        """Runs per point."""
        return self.replication.replicates * len(self.instances)

    @property
    def n_baseline_runs(self) -> int:
        """Trials of its baselines."""
        return len(self.baselines) * self.replication.confirm

    def slots(self, replicates: range | None = None) -> list[Slot]:
        """Return the trials of a point, the first one first; other *replicates* than its own may be given."""
        numbers = replicates or range(self.replication.replicates)
        return [(index, number) for number in numbers for index in range(len(self.instances))]

    def slot_of(self, manifest: Manifest) -> Slot:
        """Return which of its point's trials a trial is."""
        return next(
            i for i, instance in enumerate(self.instances) if instance.pid == manifest.pid
        ), manifest.seed

    def label_at(self, pid: str) -> str:
        """Return the label of one of its problems."""
        return next(instance.label for instance in self.instances if instance.pid == pid)

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """Names of what varies, in the space or among the points."""
        if self.points is None:
            return tuple(self.space.dimensions)
        first = self.points[0].hyperparams if self.points else {}
        return tuple(
            name for name in first if any(point.hyperparams.get(name) != first[name] for point in self.points)
        )

    def varied_of(self, hyperparams: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return those of a trial's hyperparameters that vary and are active in it."""
        if self.points is None:
            return self.space.active(hyperparams)
        return {name: hyperparams[name] for name in self.varied}

    def hyperparams(self, point: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Complete a point of the space."""
        return {**self.base, **point}

    def point_of(
        self,
        hyperparams: Mapping[str, Scalar],
        instance: ProblemInstance | None = None,
        but: str | None = None,
    ) -> dict[str, Scalar] | None:
        """Return the point of the space that complete *hyperparams* are at an instance, or None.

        Args:
            hyperparams: Of a trial.
            instance: Where; None is the first one.
            but: A parameter outside the space that may differ.
        """
        base = self.base if instance is None else instance.base
        point = self.space.active(hyperparams)
        if set(hyperparams) != set(base) | set(point) or not self.space.contains(point):
            return None
        rest = {name: value for name, value in hyperparams.items() if name not in point and name != but}
        return point if all(base[name] == value for name, value in rest.items()) else None


@dataclass(frozen=True)
class RunPlan:
    """Everything a driver needs.

    Attributes:
        task: The task.
        problems: In the order of the configuration.
        studies: Problem by problem, method by method.
        scoring: How trials are scored.
        limits: What a trial may take besides its budget.
        max_hours: After so long nothing more is asked.
    """

    task: Task
    problems: tuple[ProblemPlan, ...]
    studies: tuple[StudyPlan, ...]
    scoring: Scoring = field(default_factory=Scoring)
    limits: LimitsSpec = field(default_factory=LimitsSpec)
    max_hours: float | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of search spaces and tables before anything runs, a line each."""
        found = (
            (f"search_space.{study.method}.{name}", uneven(dimension))
            for study in self.studies
            for name, dimension in study.space.dimensions.items()
        )
        uneven_steps = [f"{key}: {text}" for key, text in found if text is not None]
        left_out = [f"warm_start: {text}" for study in self.studies for text in study.search.left_out]
        return tuple(dict.fromkeys([*uneven_steps, *left_out]))

    def fixed(self, study: StudyPlan, point: Point) -> Manifest:
        """Return the manifest of a fixed point."""
        return self.manifest(study, point.hyperparams, point.seed)

    def baselines(self, study: StudyPlan, baseline: Baseline) -> list[Manifest]:
        """Return the trials of a baseline; it runs on the first fresh replicates."""
        first, how = study.replication.replicates, replace(study, method=baseline.method)
        numbers = range(first, first + study.replication.confirm)
        return [self.manifest(how, baseline.hyperparams, number) for number in numbers]

    def manifest_at(self, study: StudyPlan, point: Mapping[str, Scalar], slot: Slot) -> Manifest:
        """Return the manifest of one of a point's trials."""
        instance = study.instances[slot[0]]
        return self.manifest(study, {**instance.base, **point}, slot[1], instance)

    def manifest(
        self,
        study: StudyPlan,
        hyperparams: Mapping[str, Scalar],
        seed: int,
        instance: ProblemInstance | None = None,
    ) -> Manifest:
        """Return the manifest of a trial of *study*, at its first instance or another one."""
        return Manifest(
            self.task.name,
            self.task.version,
            "trial",
            (instance or study.instances[0]).pid,
            study.method,
            hyperparams,
            seed,
            study.budget_sec,
        )
