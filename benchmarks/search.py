"""How good the search is at equal trials: the product against random points, plain Optuna and others.

Every trial takes its time on as many simulated workers as trials are in flight; the product's side is its
real driver with its defaults. Needs ``pip install -e .[bench]``, and the peers that are asked for.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from parsl_optuna.core.load import structure
from parsl_optuna.core.records import Request
from parsl_optuna.core.spec import RunSpec
from parsl_optuna.execution.simulated import SimulatedExecutor, SimulatedTrial
from parsl_optuna.store.simulated import SimulatedStore
from parsl_optuna.study.active import ActiveStudy
from parsl_optuna.study.driver import Driver
from parsl_optuna.study.plan.tuning import plan_run

from benchmarks.problems import Problem, names, problem
from benchmarks.search_peers import PEERS, searched

FAMILIES = {
    "hpolib": "structured",
    "nasbench201": "structured",
    "hpobench": "hpobench",
    "function": "functions",
}
_BOOTSTRAP = 2000


class Job(NamedTuple):
    """A search to be done."""

    way: str
    problem: str
    batch: int
    trials: int
    seed: int


class Score(NamedTuple):
    """What came of a search: the least regret of its points, and the CPU time of all of it."""

    job: Job
    regret: float
    cpu_sec: float


def run_product(chosen: Problem, batch: int, trials: int, seed: int, **optuna_block: Any) -> ActiveStudy:
    """Search with the product's driver; return the study at its end."""
    raw = {
        "task": "benchmarks.problems:TASK",
        "problems": [{"name": chosen.name}],
        "methods": ["look"],
        "optuna": {"max_trials": trials, "batch_size": batch, "seed": seed, **optuna_block},
    }
    with tempfile.TemporaryDirectory() as folder:
        store = SimulatedStore(Path(folder))

        def simulate(request: Request) -> SimulatedTrial:
            manifest, _ = store.manifest(request.pid, request.method, request.trial_id)
            loss, seconds = chosen.look(manifest.hyperparams, manifest.seed)
            return SimulatedTrial(seconds, store.simulate(manifest, seconds, {"loss": loss}).to_json())

        executor = SimulatedExecutor(batch, simulate)
        plan = plan_run(structure(RunSpec, raw, "bench"), "bench")
        (study,) = Driver(plan, store, executor, lambda _: None, executor.now).run().studies
    return study


def product(chosen: Problem, batch: int, trials: int, seed: int) -> list[Mapping[str, Any]]:
    """Return the points that the product ran."""
    study = run_product(chosen, batch, trials, seed, confirm=0)
    return [ended.manifest.hyperparams for ended in study.ended.values()]


def score(job: Job) -> Score:
    """Search once."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    chosen = problem(job.problem)
    begun = time.process_time()
    if job.way == "this product":
        points = product(chosen, job.batch, job.trials, job.seed)
    else:
        points = searched(PEERS[job.way](chosen, job.seed), chosen, job.batch, job.trials)
    return Score(job, min(map(chosen.regret, points)), time.process_time() - begun)


def report(found: Sequence[Score], ways: Sequence[str], base: str) -> list[str]:
    """Return a table: mean regret and ratio to *base*, with 95 % intervals over seeds, by family."""
    lines = [
        "| search | in flight | problems | regret | ratio to plain TPE | CPU s per search |",
        "|" + "---|" * 6,
    ]
    batches = sorted({(one.job.batch, one.job.trials) for one in found})
    for family in dict.fromkeys(FAMILIES[one.job.problem.split("/")[0]] for one in found):
        for batch, trials in batches:
            for way in ways:
                mine, others = (_by_seed(found, who, family, batch) for who in (way, base))
                if not mine:
                    continue
                cpu = [s.cpu_sec for s in found if (s.job.way, s.job.batch) == (way, batch)]
                regret = statistics.fmean(mine.values())
                lines.append(
                    f"| {way} | {batch}, {trials} trials | {family} | {regret:.4f} | "
                    f"{_ratio(mine, others)} | {statistics.fmean(cpu):.1f} |"
                )
    return lines


def _by_seed(found: Sequence[Score], way: str, family: str, batch: int) -> dict[int, float]:
    """Return the mean regret over a family by seed; that of a function is scaled by its mean first."""
    mine = [
        one for one in found if FAMILIES[one.job.problem.split("/")[0]] == family and one.job.batch == batch
    ]
    scales = {
        name: statistics.fmean(one.regret for one in mine if one.job.problem == name) or 1.0
        for name in {one.job.problem for one in mine}
    }
    values: dict[int, list[float]] = {}
    for one in mine:
        if one.job.way == way:
            scale = scales[one.job.problem] if family == "functions" else 1.0
            values.setdefault(one.job.seed, []).append(one.regret / scale)
    return {seed: statistics.fmean(some) for seed, some in values.items()}


def _ratio(mine: dict[int, float], base: dict[int, float]) -> str:
    """Return the ratio of two means with a 95 % interval, by bootstrap over the seeds they share."""
    seeds, generator = sorted(mine.keys() & base.keys()), random.Random(0)
    if not seeds:
        return "-"
    drawn = sorted(
        sum(mine[s] for s in some) / max(sum(base[s] for s in some), 1e-12)
        for some in (generator.choices(seeds, k=len(seeds)) for _ in range(_BOOTSTRAP))
    )
    whole = sum(mine[s] for s in seeds) / max(sum(base[s] for s in seeds), 1e-12)
    return f"{whole:.2f} ({drawn[_BOOTSTRAP // 40]:.2f} to {drawn[-_BOOTSTRAP // 40]:.2f})"


def main() -> None:
    """Print a row per family, batch and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--ways", default="random,plain TPE,this product", help=f"also {', '.join(PEERS)}")
    parser.add_argument("--batches", default="1,8,32,64", help="64 in flight are 200 trials, fewer 100")
    parser.add_argument("--only", action="append", help="a problem; may be given several times")
    parser.add_argument("--families", default="tables,functions")
    options = parser.parse_args()
    ways = options.ways.split(",")
    jobs = [
        Job(way, name, batch, 200 if batch > 32 else 100, seed)
        for batch in map(int, options.batches.split(","))
        for name in options.only or names(tuple(options.families.split(",")))
        for way in ways
        for seed in range(options.seeds)
    ]
    with ProcessPoolExecutor(options.workers) as pool:
        found = list(pool.map(score, jobs))
    print("\n".join(report(found, ways, "plain TPE")))


if __name__ == "__main__":
    main()
