"""What a user asks for: the keys of a configuration file, typed, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from parsl_optuna.core.constraint import Constraint, parse_all
from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.fidelity import Fidelity
from parsl_optuna.core.objective import Goal
from parsl_optuna.core.resources import ClusterSpec, LimitsSpec, above_zero

SAMPLERS = (
    "auto", "rank_gp", "tpe", "random", "grid", "gp", "cmaes", "nsgaii", "nsgaiii", "qmc", "brute_force",
    "partial_fixed",
)  # fmt: skip
"""Samplers by the names that a configuration may use; `auto` chooses between `rank_gp` and `tpe`."""

PRUNERS = (
    "median", "percentile", "hyperband", "successive_halving", "wilcoxon", "threshold", "patient",
    "wandb_hyperband",
)  # fmt: skip
"""Pruners by the names that a configuration may use."""


@dataclass(frozen=True)
class OptunaSpec:
    """The block ``optuna`` of a tuning run.

    Attributes:
        max_trials: Trials per (problem, method).
        batch_size: Trials in flight per (problem, method).
        hmc_budget_sec: Time for a reference.
        method_budget_sec: Time for a trial.
        seed: All proposals derive from it, the problem, the method and the trial's number.
        sampler: A name of `SAMPLERS`, or ``module:Class``, ``FILE.py:Class`` or ``FOLDER:Class`` of a
            subclass of Optuna's ``BaseSampler``; or a mapping of ``name`` and the sampler's own parameters.
        pruner: A name of `PRUNERS`, or as above of a subclass of ``BasePruner``; or a mapping of ``name`` and
            the pruner's own parameters; null lets every trial run to its end.
        fidelity: Trials begin short, and the best run on: ``parameter``, ``min``, ``max``, ``factor``; null
            runs all at full length. ``max_trials`` counts trials of all lengths.
        n_startup_trials: Trials before the sampler starts to model.
        objective: What ``error`` means: a name (``abs``, ``huber``, ``standardised``, ``metric``) or its
            mapping. Given, the search goes by it; null is ``abs``, and the search goes by ``objectives``.
        objectives: ``error``, ``score``, ``cost`` and metrics: a list of names, which are minimised, or
            ``name: minimize`` and ``name: maximize``; more than one gives a Pareto front; null is ``score``
            for task ``llc``, else ``error``.
        constraints: ``metric: <= bound``, ``>= bound`` or ``== text``, or a list of bounds: a point that
            misses one is the best only while none meets all.
        confirm: Fresh seeds for each of the points that may be the best at the end, up to five; 0 says that
            the objective has no noise.
        replicates: Seeds per point; its objective is their mean or median.
        aggregate: ``mean`` or ``median``.
        across: A point is run on every problem and scored by the ``mean``, the ``worst`` or the mean ``rank``
            there; null tunes every problem by itself.
        stop_after_failures: A study is stopped if its first trials, this number of them, all fail.
        target: A study stops when its first objective is at least as good as this.
        patience: A study stops after this number of trials without an improvement.
        terminator: Whether Optuna's terminator may stop a study.
        max_hours: The run asks for nothing more after this time.
    """

    max_trials: int = 200
    batch_size: int = 32
    hmc_budget_sec: float = 36000.0
    method_budget_sec: float = 6000.0
    seed: int = 42
    sampler: Any = "auto"
    pruner: Any = None
    fidelity: Fidelity | None = None
    n_startup_trials: int = 10
    objective: Any = None
    objectives: Any = None
    constraints: Any = field(default_factory=dict)
    confirm: int = 2
    replicates: int = 1
    aggregate: Literal["mean", "median"] = "mean"
    across: Literal["mean", "worst", "rank"] | None = None
    stop_after_failures: int = 10
    target: float | None = None
    patience: int | None = None
    terminator: bool = False
    max_hours: float | None = None

    @property
    def objective_names(self) -> tuple[str, ...]:
        """Names of the objectives, the first one leads; empty where none are given."""
        return tuple(self.objectives or ())

    @property
    def goals(self) -> dict[str, Goal]:
        """Whether an objective is minimised or maximised, by name, where the file says so."""
        return dict(self.objectives) if isinstance(self.objectives, dict) else {}

    @property
    def parsed_constraints(self) -> tuple[Constraint, ...]:
        """The constraints, read."""
        return parse_all(self.constraints)

    @property
    def sampler_name(self) -> str:
        """The sampler's name."""
        return self.sampler["name"] if isinstance(self.sampler, dict) else self.sampler

    @property
    def sampler_params(self) -> dict[str, Any]:
        """The sampler's own parameters."""
        return _own_params(self.sampler)

    @property
    def pruner_name(self) -> str | None:
        """The pruner's name; None without one."""
        return self.pruner["name"] if isinstance(self.pruner, dict) else self.pruner

    @property
    def pruner_params(self) -> dict[str, Any]:
        """The pruner's own parameters."""
        return _own_params(self.pruner)

    @property
    def has_own_search(self) -> bool:
        """Whether sampler or pruner have parameters, or are classes of the user's, which may be wrong."""
        names = (self.sampler_name, self.pruner_name or "")
        return bool(self.sampler_params or self.pruner_params) or any(":" in name for name in names)

    def __post_init__(self) -> None:
        if self.objectives is not None:
            _check_objectives(self.objectives)
        parse_all(self.constraints)
        _named("sampler", self.sampler, SAMPLERS, "{name: tpe, multivariate: true}")
        if self.pruner is not None:
            _named("pruner", self.pruner, PRUNERS, "{name: median, n_startup_trials: 5}")
        for name in ("patience", "max_hours"):
            if getattr(self, name) is not None:
                above_zero(name, getattr(self, name))
        if self.across is not None and self.pruner is not None:
            raise SpecError("across does not go with a pruner: values of different problems do not compare")
        if self.across == "rank" and self.target is not None:
            raise SpecError("target does not go with across: rank, which has no values; take mean or worst")
        if self.fidelity is not None:
            self._check_fidelity()
        if self.terminator and len(self.objective_names) > 1:
            raise SpecError("terminator goes with one objective only")
        for name in ("max_trials", "batch_size", "hmc_budget_sec", "method_budget_sec", "replicates"):
            above_zero(name, getattr(self, name))
        for name in ("n_startup_trials", "confirm", "stop_after_failures"):
            if getattr(self, name) < 0:
                raise SpecError(f"{name} {getattr(self, name)} must be at least 0")

    def _check_fidelity(self) -> None:
        """Refuse what does not go with trials of different length."""
        for name, is_there in (
            ("across", self.across is not None),
            ("pruner", self.pruner is not None),
            ("terminator", self.terminator),
            (f"sampler: {self.sampler_name}", self.sampler_name in ("grid", "brute_force")),
            ("several objectives", len(self.objective_names) > 1),
        ):
            if is_there:
                raise SpecError(
                    f"fidelity does not go with {name}: it compares trials of different length; "
                    "remove one of them"
                )


@dataclass(frozen=True)
class WarmStart:
    """One entry of ``warm_start``: a table of points that other studies have tried.

    Attributes:
        table: A parquet that `aggregate` wrote, or a CSV with a column per parameter.
        objective: Column with the objective, as people see it: what is maximised keeps its sign.
        method: Take them for this method only; null takes a row for the method that its column
            ``method`` names, or for all.
    """

    table: str
    objective: str = "objective"
    method: str | None = None


@dataclass(frozen=True)
class RunSpec:
    """A tuning configuration, ``parsl-optuna --config``.

    Attributes:
        problems: One mapping per problem, in the task's schema.
        methods: Methods to tune; may be left out for a task that has one only.
        task: The task; ``llc``, a name in ``workflow/parsl_optuna/tasks``, or ``module:NAME``.
        optuna: Trials, budgets, search.
        search_space: ``method -> parameter -> dimension or fixed value``, over the task's default.
        enqueue: ``method -> first guesses``, each a mapping of some or all parameters.
        warm_start: Tables of points that the search learns from and does not run.
        reference: Hyperparameters of the reference that differ from its preset.
        limits: Grace, memory, checkpoints.
        cluster: What to ask a scheduler for.
        artifacts_dir: Where trials and references are kept.
        results_dir: Where tables are written.
        parsl_config: ``local``, ``slurm``, ``pbs``, or a Python file that defines Parsl's configuration.
        executor: Which of the configuration's executors runs trials; null takes the only one, or the only one
            that has worker processes.
    """

    problems: tuple[dict[str, Any], ...]
    methods: tuple[str, ...] = ()
    task: str = "llc"
    optuna: OptunaSpec = field(default_factory=OptunaSpec)
    search_space: dict[str, dict[str, Any]] = field(default_factory=dict)
    enqueue: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    warm_start: tuple[WarmStart, ...] = ()
    reference: dict[str, Any] = field(default_factory=dict)
    limits: LimitsSpec = field(default_factory=LimitsSpec)
    cluster: ClusterSpec = field(default_factory=ClusterSpec)
    artifacts_dir: str = "artifacts"
    results_dir: str = "results"
    parsl_config: str | None = None
    executor: str | None = None

    def __post_init__(self) -> None:
        if not self.problems:
            raise SpecError("problems is empty; name at least one")
        if self.warm_start and (len(self.optuna.objective_names) > 1 or self.optuna.across == "rank"):
            what = "across: rank" if self.optuna.across == "rank" else "several objectives"
            raise SpecError(f"warm_start has one objective, whose values say nothing to {what}; leave it out")
        _distinct("methods", self.methods)


@dataclass(frozen=True)
class SamplerSpec:
    """One sampler of a fixed-hyperparameter run.

    Attributes:
        name: The method.
        overrides: Hyperparameters that differ from its preset.
        seeds: Replicates.
        best_from: Results folder of a tuning run; its best point of this problem and method is
            used, *overrides* on top.
    """

    name: str
    overrides: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    best_from: str | None = None


@dataclass(frozen=True)
class FixedSpec:
    """A production configuration, ``parsl-llc --config``: every problem with every sampler.

    Attributes:
        problems: One mapping per problem, in the task's schema.
        samplers: Methods with their hyperparameters.
        task: The task.
        budget_sec: Time per run.
        batch_size: Runs in flight per (problem, sampler).
        limits: Grace, memory, checkpoints.
        cluster: What to ask a scheduler for.
        artifacts_dir: Where runs are kept.
        results_dir: Where the table is written.
        parsl_config: ``local``, ``slurm``, ``pbs``, or a Python file that defines Parsl's configuration.
        executor: Which of the configuration's executors runs trials; null takes the only one, or the only one
            that has worker processes.
    """

    problems: tuple[dict[str, Any], ...]
    samplers: tuple[SamplerSpec, ...]
    task: str = "llc"
    budget_sec: float = 36000.0
    batch_size: int = 32
    limits: LimitsSpec = field(default_factory=LimitsSpec)
    cluster: ClusterSpec = field(default_factory=ClusterSpec)
    artifacts_dir: str = "artifacts"
    results_dir: str = "results"
    parsl_config: str | None = None
    executor: str | None = None

    def __post_init__(self) -> None:
        if not self.problems or not self.samplers:
            raise SpecError("problems and samplers must name at least one each")
        above_zero("budget_sec", self.budget_sec)
        above_zero("batch_size", self.batch_size)


@dataclass(frozen=True)
class SweepSpec:
    """How to run a W&B sweep file, ``parsl-optuna sweep``.

    Attributes:
        file: The sweep file.
        task: Task of this package to run in place of the program; null runs the program itself.
        count: Largest number of runs; null takes the file's ``run_cap``.
        batch_size: Runs in flight per problem.
        budget_sec: Time per run.
        seed: Of random points and searches.
        sampler: Of a bayes sweep, a name of `SAMPLERS`.
        objectives: Metrics to minimise, the leading one is the sweep's own; null takes the task's.
        data: Files of data sets by the name that a sweep has for them.
        params: Parameters beside those of the file, or in their place: one value each.
        fold: Whether parameters without effect are dropped.
        stop_after_failures: A sweep is stopped if its first runs, this number of them, all fail; 0: never.
        max_hours: Nothing more is started after this time.
        limits: Grace, memory, checkpoints.
        cluster: What to ask a scheduler for.
        artifacts_dir: Where runs are kept.
        results_dir: Where the table is written.
        parsl_config: ``local``, ``slurm``, ``pbs``, or a Python file that defines Parsl's configuration.
        executor: Which of the configuration's executors runs trials; null takes the only one, or the only one
            that has worker processes.
    """

    file: str
    task: str | None = None
    count: int | None = None
    batch_size: int = 32
    budget_sec: float = 36000.0
    seed: int = 42
    sampler: str = "auto"
    objectives: tuple[str, ...] | None = None
    data: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    fold: bool = True
    stop_after_failures: int = 10
    max_hours: float | None = None
    limits: LimitsSpec = field(default_factory=LimitsSpec)
    cluster: ClusterSpec = field(default_factory=ClusterSpec)
    artifacts_dir: str = "artifacts"
    results_dir: str = "results"
    parsl_config: str | None = None
    executor: str | None = None

    def __post_init__(self) -> None:
        for name in ("count", "batch_size", "budget_sec", "max_hours"):
            if getattr(self, name) is not None:
                above_zero(name, getattr(self, name))
        _named("sampler", self.sampler, SAMPLERS, "tpe")


@dataclass(frozen=True)
class FolderSpec:
    """Where a run with a command of its own keeps things.

    Attributes:
        options: What the command was given, to be written beside the results.
        artifacts_dir: Where trials are kept.
        results_dir: Where tables are written.
        parsl_config: ``local``, ``slurm``, ``pbs``, or a Python file that defines Parsl's configuration.
        executor: Which of the configuration's executors runs trials; null takes the only one, or the only one
            that has worker processes.
        cluster: What to ask a scheduler for.
    """

    options: dict[str, Any]
    artifacts_dir: str = "artifacts"
    results_dir: str = "results"
    parsl_config: str | None = None
    executor: str | None = None
    cluster: ClusterSpec = field(default_factory=ClusterSpec)


def _check_objectives(found: Any) -> None:
    if not isinstance(found, (list, tuple, dict)) or not all(isinstance(name, str) for name in found):
        raise SpecError(f"objectives: must be a list of names, or name: minimize | maximize, got {found!r}")
    if not found or len(set(found)) < len(found):
        raise SpecError(f"objectives {list(found)} must be one or more different names")
    for name, goal in found.items() if isinstance(found, dict) else ():
        if goal not in ("minimize", "maximize"):
            raise SpecError(f"objectives.{name}: must be minimize or maximize, got {goal!r}")


def _own_params(choice: Any) -> dict[str, Any]:
    """Return the parameters of a sampler or pruner that is given as a mapping; none of a plain name."""
    return {key: value for key, value in choice.items() if key != "name"} if isinstance(choice, dict) else {}


def _named(key: str, value: Any, known: tuple[str, ...], example: str) -> None:
    """Check a name, or a mapping with a name."""
    if isinstance(value, dict) and "name" not in value:
        raise SpecError(f"{key}: name is missing; e.g. {example}")
    name = value["name"] if isinstance(value, dict) else value
    if not isinstance(name, str):
        raise SpecError(
            f"{key}: must be a name, or a mapping with one, such as {example}; got a {type(name).__name__}; "
            "a class of your own is named 'module:Class'"
        )
    module, colon, attribute = name.rpartition(":")
    if colon and not (module and attribute.isidentifier()):
        raise SpecError(f"{key}: '{name}' must be module:Class, FILE.py:Class or FOLDER:Class")
    if not colon and name not in known:
        raise SpecError(f"{key}: unknown name '{name}'; {nearest(name, known)}, or module:Class")


def _distinct(name: str, values: tuple[str, ...]) -> None:
    if len(set(values)) < len(values):
        raise SpecError(f"{name} {list(values)} names one twice")
