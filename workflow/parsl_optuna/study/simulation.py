"""How long a run would take on so many workers: the real driver, with trial times measured so far."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

from parsl_optuna.core.records import ReferenceValue
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
_MOST_POWER = 3.0


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
    known = Known(plan, store)
    return [_predicted(known, count) for count in workers]


def _predicted(known: Known, workers: int) -> Prediction:
    plan = known.plan
    simulation = Simulation(known)
    executor = SimulatedExecutor(workers, simulation.simulate, simulation.dispatch_sec)
    result = Driver(simulation.plan, simulation.store, executor, _unseen, executor.now).run()
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


class Known:
    """What tells how long trials and proposals take.

    Args:
        plan: The run.
        store: Where it is kept.

    Attributes:
        costs: Of proposals, by problem and method.
        times: Seconds that trials took, by problem and method.
        reference_times: Seconds that references took.
    """

    def __init__(self, plan: RunPlan, store: ArtifactStore) -> None:
        self.plan, self.root = plan, store.paths.root
        self.costs = {(study.pid, study.method): _ProposalCost(study) for study in plan.studies}
        took = runtimes(plan, store)
        self.times: dict[tuple[str, str], Sequence[float]] = {key: list(found) for key, found in took.items()}
        for study in plan.studies:  # another problem's times are better than none
            if not took.get((study.pid, study.method)):
                others = [
                    one for (_, method), found in took.items() if method == study.method for one in found
                ]
                self.times[study.pid, study.method] = others
        self.reference_times = [
            outcome.runtime_sec
            for problem in plan.problems
            if problem.reference and (outcome := store.outcome(problem.reference)) is not None
        ]


class Simulation:
    """What would come of the trials of a plan.

    Args:
        known: What tells how long they take.

    Attributes:
        store: Where they would be kept.
        plan: The run, with searches that need no values.
        driver_sec: What the driver would have needed so far.
        n_simulated: Trials so far.
        n_measured: Those among them whose time was drawn from measured ones.
    """

    def __init__(self, known: Known) -> None:
        plan = known.plan
        self.store = SimulatedStore(known.root)
        self.plan = replace(plan, studies=tuple(_plain(study) for study in plan.studies))
        self.driver_sec, self.n_simulated, self.n_measured = 0.0, 0, 0
        self._known, self._random = known, random.Random(0)
        self._proposed: dict[tuple[str, str], int] = {}

    def dispatch_sec(self, ticket: Any) -> float:
        """Return what the driver needs for one more trial."""
        key = (ticket.pid, ticket.method)
        cost = self._known.costs.get(key)
        self._proposed[key] = number = self._proposed.get(key, 0) + 1
        seconds = _DISPATCH_SEC + (0.0 if cost is None else cost(number))
        self.driver_sec += seconds
        return seconds

    def simulate(self, ticket: Any) -> SimulatedTrial:
        """Return how long a trial takes and what comes of it."""
        manifest, _ = self.store.manifest(ticket.pid, ticket.method, ticket.trial_id)
        times = self._known.reference_times
        if manifest.role == "trial":
            times = self._known.times.get((manifest.pid, manifest.method), ())
        self.n_simulated += 1
        self.n_measured += bool(times)
        seconds = self._random.choice(times) if times else manifest.budget_sec
        outcome = self.store.simulate(manifest, seconds, self._metrics())
        if manifest.role == "reference":
            value = ReferenceValue(0.0, 0.0, "ok", None, manifest.trial_id)
            self.store.simulate_reference(manifest.pid, value)
        return SimulatedTrial(seconds, outcome.to_json())

    def _metrics(self) -> dict[str, float]:
        """Return values at random for everything that may be judged."""
        plan = self.plan
        names = {*plan.scoring.names, plan.task.metric, plan.task.result, plan.scoring.first.metric}
        return {name: self._random.random() for name in sorted(names - {None, "runtime_sec"})}


class _ProposalCost:
    """Seconds that the sampler of a study needs to propose its n-th trial, from a few that were timed."""

    def __init__(self, study: StudyPlan) -> None:
        self._study = study

    def __call__(self, number: int) -> float:
        points = self._measured
        for (low, cheap), (high, dear) in pairwise(points):
            if number <= high:
                return cheap + (dear - cheap) * max(number - low, 0) / (high - low)
        high, dear = points[-1]
        if len(points) == 1 or number <= high:
            return dear
        low, cheap = points[-2]
        power = math.log(dear / cheap) / math.log(high / low)
        return dear * (number / high) ** min(max(power, 0.0), _MOST_POWER)

    @cached_property
    def _measured(self) -> list[tuple[int, float]]:
        if self._study.points is not None:
            return [(1, 0.0)]
        found = []
        for size in _SIZES:
            found.append((size, _time_of_proposal(self._study, size)))
            if size >= self._study.max_trials or found[-1][1] > _LONG_SEC:
                break
        return found


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
