"""How long a run would take on so many workers: the real driver, with trial times measured so far."""

from __future__ import annotations

import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from parsl_optuna.core.records import ReferenceValue, Request
from parsl_optuna.execution.simulated import SimulatedExecutor, SimulatedTrial
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.simulated import SimulatedStore
from parsl_optuna.study.driver import Driver
from parsl_optuna.study.forecast import runtimes
from parsl_optuna.study.plan.plans import RunPlan, SearchSettings, StopRules, StudyPlan
from parsl_optuna.study.progress import Snapshot
from parsl_optuna.study.search.search import Search

_DISPATCH_SEC = 1e-3
"""What the driver needs for a trial besides the search (`benchmarks/bench_engine.py`)."""

_SIZES = (10, 100, 1000, 3000)
"""Numbers of trials at which the cost of a proposal is measured; beyond, it grows on by the same power."""

_LONG_SEC = 0.2
"""A proposal that takes longer is the last one that is timed: all of them should take seconds."""

_MOST_POWER = 3.0
"""Of that growth: an exact Gaussian process. A steeper one is noise of the two last times."""


@dataclass(frozen=True)
class Prediction:
    """What a run would take.

    Attributes:
        workers: How many.
        makespan_sec: From start to end.
        utilisation: Share of that time in which workers are at work.
        utilisation_before_last: The same, up to the start of the last trial.
        worker_hours: Workers times makespan.
        trials: How many references and trials would run.
        driver_sec: How long the driver would be busy.
        most_in_flight: The largest number of trials that the batch sizes allow at a time.
        measured: Share of the trials whose time was drawn from measured ones; the others take their budget.
    """

    workers: int
    makespan_sec: float
    utilisation: float
    utilisation_before_last: float
    worker_hours: float
    trials: int
    driver_sec: float
    most_in_flight: int
    measured: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def predict(plan: RunPlan, store: ArtifactStore, workers: Sequence[int]) -> list[Prediction]:
    """Think the rest of a run through, once for each number of workers; nothing is started or written.

    Every search takes all its trials: stop rules and pruners depend on values that no one knows yet.
    """
    costs, times = _proposal_costs(plan), measured(plan, store)
    return [_predicted(Simulation(plan, store, costs, times), count) for count in workers]


def _predicted(simulation: Simulation, workers: int) -> Prediction:
    plan = simulation.plan
    executor = SimulatedExecutor(workers, simulation.simulate, simulation.dispatch_sec)
    result = Driver(plan, simulation.store, executor, _unseen, executor.now).run()
    usage = executor.usage()
    before = workers * usage.last_start_sec
    return Prediction(
        workers,
        usage.makespan_sec,
        usage.busy_sec / (workers * usage.makespan_sec) if usage.makespan_sec else 0.0,
        usage.busy_before_sec / before if before else 1.0,
        workers * usage.makespan_sec / 3600.0,
        result.n_started,
        simulation.driver_sec,
        sum(study.batch_size for study in plan.studies),
        simulation.n_measured / max(simulation.n_simulated, 1),
    )


Times = dict[tuple[str, ...], list[float]]
"""Seconds by role, method and problem id; and by role and method, of all problems."""


def measured(plan: RunPlan, store: ArtifactStore) -> Times:
    """Return the time of every trial and reference of a plan that is there."""
    found: Times = defaultdict(list)
    for study in plan.studies:
        took = runtimes(plan, study, store)
        found["trial", study.method, study.pid] += took
        found["trial", study.method] += took
    for problem in plan.problems:
        if problem.reference and (outcome := store.outcome(problem.reference)) is not None:
            found["reference", problem.reference.method].append(outcome.runtime_sec)
    return found


class Simulation:
    """What would come of the trials of a plan.

    Args:
        plan: The run.
        store: Where it is kept.
        costs: Seconds that the n-th proposal takes, by problem id and method; nothing where there is none.
        times: Seconds that trials took, as `measured` gives them.

    Attributes:
        store: Where the trials would be kept.
        plan: The run, with searches that need no values.
        driver_sec: What the driver would have needed so far.
        n_simulated: Trials so far.
        n_measured: Those among them whose time was drawn from measured ones.
    """

    def __init__(
        self,
        plan: RunPlan,
        store: ArtifactStore,
        costs: Mapping[tuple[str, str], Callable[[int], float]],
        times: Times,
    ) -> None:
        self.store = SimulatedStore(store.paths.root)
        self.plan = replace(plan, studies=tuple(_plain(study) for study in plan.studies))
        self.driver_sec, self.n_simulated, self.n_measured = 0.0, 0, 0
        self._costs, self._times, self._random = costs, times, random.Random(0)
        self._proposed: Counter[tuple[str, str]] = Counter()

    def dispatch_sec(self, request: Request) -> float:
        """Return what the driver needs for one more trial."""
        key = (request.pid, request.method)
        self._proposed[key] += 1
        seconds = _DISPATCH_SEC + (self._costs[key](self._proposed[key]) if key in self._costs else 0.0)
        self.driver_sec += seconds
        return seconds

    def simulate(self, request: Request) -> SimulatedTrial:
        """Return how long a trial takes, if need be by another problem's trials, and what comes of it."""
        manifest, _ = self.store.manifest(request.pid, request.method, request.trial_id)
        key = (manifest.role, manifest.method)
        times = self._times.get((*key, manifest.pid)) or self._times.get(key)
        self.n_simulated += 1
        self.n_measured += bool(times)
        seconds = self._random.choice(times) if times else manifest.budget_sec
        outcome = self.store.simulate(manifest, seconds, self._metrics())
        if manifest.role == "reference":
            value = ReferenceValue(0.0, 0.0, "ok", None, manifest.trial_id)
            self.store.simulate_reference(manifest.pid, value)
        return SimulatedTrial(seconds, outcome.to_json())

    def _metrics(self) -> dict[str, float]:
        """Return values at random for everything that may be scored."""
        plan = self.plan
        names = {*plan.scoring.names, plan.task.metric, plan.task.result, plan.scoring.first.metric}
        return {name: self._random.random() for name in sorted(names - {None, "runtime_sec"})}


def _proposal_costs(plan: RunPlan) -> dict[tuple[str, str], Callable[[int], float]]:
    """Return what the search of every study costs; each is timed when it is first asked for."""
    return {(study.pid, study.method): _ProposalCost(study) for study in plan.studies if study.points is None}


class _ProposalCost:
    """Seconds that the sampler of a study needs to propose its n-th trial, from a few that were timed."""

    def __init__(self, study: StudyPlan) -> None:
        self._study = study

    def __call__(self, number: int) -> float:
        sizes, seconds = self._timed
        if number <= sizes[-1] or len(sizes) == 1:
            return float(np.interp(number, sizes, seconds))
        power = math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])
        return seconds[-1] * (number / sizes[-1]) ** min(max(power, 0.0), _MOST_POWER)

    @cached_property
    def _timed(self) -> tuple[list[int], list[float]]:
        sizes, seconds = [], []
        for size in _SIZES:
            sizes.append(size)
            seconds.append(_time_of_proposal(self._study, size))
            if size >= self._study.max_trials or seconds[-1] > _LONG_SEC:
                break
        return sizes, seconds


def _time_of_proposal(study: StudyPlan, size: int) -> float:
    """Time a proposal and what it is told, after *size* trials with values at random."""
    plain, draw = Search(_plain(study), 1), random.Random(0)
    search = Search(replace(study, search=replace(study.search, n_startup_trials=0, enqueue=())), 1)
    for number in range(size):
        search.learn(plain.ask(number), draw.random())
    search.ask(size)
    begun = time.perf_counter()
    search.tell(size, [0.5])
    search.ask(size + 1)
    return time.perf_counter() - begun


def _plain(study: StudyPlan) -> StudyPlan:
    """Return a study that takes all its trials at no cost for the search."""
    sampler = "grid" if study.search.sampler == "grid" else "random"
    search = SearchSettings(study.search.seed, sampler, enqueue=study.search.enqueue)
    return replace(study, search=search, stop=StopRules())


def _unseen(snapshot: Snapshot) -> None:
    del snapshot
