"""How good the search is at equal trials, on 15 real tables: the product against random and plain Optuna.

Every trial takes the time that its network took to train, on as many simulated workers as trials are in
flight; the product's side is its real driver. Needs ``pip install -e .[bench]``.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import optuna
from parsl_optuna.core.load import structure
from parsl_optuna.core.records import Request
from parsl_optuna.core.space import Int
from parsl_optuna.core.spec import RunSpec
from parsl_optuna.execution.simulated import SimulatedExecutor, SimulatedTrial
from parsl_optuna.store.simulated import SimulatedStore
from parsl_optuna.study.driver import Driver
from parsl_optuna.study.plan.tuning import plan_run

from benchmarks.tables import Table, names, space, table

TRIALS = 100
_T_95 = 2.09
"""Student's t for 95 % and 20 seeds."""


@dataclass(frozen=True)
class Way:
    """A way to search: losses of so many trials in the order in which they ended."""

    label: str
    search: Callable[[str, int, int], list[float]]
    batches: tuple[int, ...]


def product(name: str, batch: int, seed: int) -> list[float]:
    """Search with the product's driver and its default sampler."""
    raw = {
        "task": "benchmarks.tables:TASK",
        "problems": [{"table": name}],
        "methods": ["look"],
        "optuna": {"max_trials": TRIALS, "batch_size": batch, "confirm": 0, "seed": seed},
    }
    chosen = table(name)
    with tempfile.TemporaryDirectory() as folder:
        store = SimulatedStore(Path(folder))

        def simulate(request: Request) -> SimulatedTrial:
            manifest, _ = store.manifest(request.pid, request.method, request.trial_id)
            loss, seconds = chosen.look(manifest.hyperparams)
            return SimulatedTrial(seconds, store.simulate(manifest, seconds, {"loss": loss}).to_json())

        executor = SimulatedExecutor(batch, simulate)
        plan = plan_run(structure(RunSpec, raw, "bench"), "bench")
        (study,) = Driver(plan, store, executor, lambda _: None, executor.now).run().studies
    return [ended.values[0] for ended in study.ended.values() if ended.values is not None]


def at_random(name: str, batch: int, seed: int) -> list[float]:
    """Draw points at random, none twice."""
    del batch
    return [loss for loss, _ in random.Random(seed).sample(sorted(table(name).entries.values()), TRIALS)]


def plain(name: str, batch: int, seed: int) -> list[float]:
    """Ask and tell Optuna's TPE, a trial refilled as soon as one ends; with one in flight, `optimize`."""
    chosen, losses = table(name), []
    distributions = _distributions(name)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    if batch == 1:
        study.optimize(lambda trial: _suggested(trial, chosen, distributions), TRIALS)
        return [trial.value for trial in study.trials if trial.value is not None]
    running: list[tuple[float, int, float]] = []
    clock, asked = 0.0, 0
    while len(losses) < TRIALS:
        while len(running) < batch and asked < TRIALS:
            trial = study.ask(distributions)
            loss, seconds = chosen.look(trial.params)
            heapq.heappush(running, (clock + seconds, trial.number, loss))
            asked += 1
        clock, number, loss = heapq.heappop(running)
        study.tell(number, loss)
        losses.append(loss)
    return losses


def _suggested(
    trial: optuna.Trial, chosen: Table, distributions: Mapping[str, optuna.distributions.BaseDistribution]
) -> float:
    point = {
        name: trial.suggest_int(name, one.low, one.high)
        if isinstance(one, optuna.distributions.IntDistribution)
        else trial.suggest_categorical(name, chosen.choices[name])
        for name, one in distributions.items()
    }
    return chosen.look(point)[0]


def _distributions(name: str) -> dict[str, optuna.distributions.BaseDistribution]:
    return {
        one: optuna.distributions.IntDistribution(dimension.low, dimension.high)
        if isinstance(dimension, Int)
        else optuna.distributions.CategoricalDistribution(table(name).choices[one])
        for one, dimension in space(name).dimensions.items()
    }


WAYS = (
    Way("random", at_random, (1,)),
    Way("plain TPE", plain, (1, 8, 32)),
    Way("this product", product, (1, 8, 32)),
)


class Score(NamedTuple):
    """What came of a search: its regret after half of the trials, and after all of them."""

    way: int
    batch: int
    table: str
    seed: int
    half: float
    whole: float


def score(job: tuple[int, int, str, int]) -> Score:
    """Search once."""
    way, batch, name, seed = job
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    losses, chosen = WAYS[way].search(name, batch, seed), table(name)
    half, whole = (chosen.regret(min(losses[:count])) for count in (TRIALS // 2, TRIALS))
    return Score(way, batch, name, seed, half, whole)


def _interval(values: list[float]) -> str:
    half = _T_95 * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.fmean(values):.4f} ± {half:.4f}"


def main() -> None:
    """Print a row per way and batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", action="append", help="a table; may be given several times")
    options = parser.parse_args()
    tables = options.only or names()
    jobs = [
        (way, batch, name, seed)
        for name in tables
        for way, one in enumerate(WAYS)
        for batch in one.batches
        for seed in range(options.seeds)
    ]
    with ProcessPoolExecutor(options.workers) as pool:
        found = list(pool.map(score, jobs, chunksize=options.seeds))
    print(f"| search | in flight | regret after {TRIALS // 2} | after {TRIALS} | mean rank |")
    print("|---|---|---|---|---|")
    ranks = _ranks(found)
    for way, kind in enumerate(WAYS):
        for batch in kind.batches:
            mine = [one for one in found if (one.way, one.batch) == (way, batch)]
            halves, wholes = (
                [
                    statistics.fmean(regret(one) for one in mine if one.seed == seed)
                    for seed in range(options.seeds)
                ]
                for regret in (lambda one: one.half, lambda one: one.whole)
            )
            columns = " | ".join(_interval(values) for values in (halves, wholes))
            print(f"| {kind.label} | {batch} | {columns} | {ranks[way, batch]:.2f} |")


def _ranks(found: list[Score]) -> dict[tuple[int, int], float]:
    """Return the mean rank, 1 the best, of every way among all on the same table and seed."""
    groups: dict[tuple[str, int], list[tuple[float, tuple[int, int]]]] = {}
    for one in found:
        groups.setdefault((one.table, one.seed), []).append((one.whole, (one.way, one.batch)))
    places: dict[tuple[int, int], list[float]] = {}
    for entries in groups.values():
        for value, key in entries:
            below = sum(other < value for other, _ in entries)
            equal = sum(other == value for other, _ in entries)
            places.setdefault(key, []).append(below + (equal + 1) / 2)
    return {key: statistics.fmean(values) for key, values in places.items()}


if __name__ == "__main__":
    main()
