"""How good the search is at equal trials: the product against random points, plain Optuna and others.

Every trial takes its time on as many simulated workers as trials are in flight; the product's side is its
real driver. Needs ``pip install -e .[bench]``, and the peers that are asked for.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
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
    """Return the points that the product ran, with the sampler that ``auto`` takes for long trials.

    Some tables are of networks that trained in 4 s, for which ``auto`` would take TPE at 64 in flight.
    """
    study = run_product(chosen, batch, trials, seed, confirm=0, sampler="rank_gp")
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


def report(found: Sequence[Score], base: str) -> list[str]:
    """Return a table: mean regret and ratio to *base*, with 95 % intervals over searches, by family."""
    lines = [
        "| search | in flight | problems | searches | regret | ratio to plain TPE | CPU s per search |",
        "|" + "---|" * 7,
    ]
    groups: dict[str, tuple[str, ...]] = {name: (name,) for name in dict.fromkeys(map(_family, found))}
    if {"structured", "hpobench"} <= groups.keys():
        groups["all tables"] = ("structured", "hpobench")
    for group, families in groups.items():
        for batch, trials in sorted({(one.job.batch, one.job.trials) for one in found}):
            some = [one for one in found if _family(one) in families and one.job.batch == batch]
            for way in dict.fromkeys(one.job.way for one in some):
                mine, others = by_search(some, way), by_search(some, base)
                cpu = statistics.fmean(one.cpu_sec for one in some if one.job.way == way)
                regret = statistics.fmean(one.regret for one in some if one.job.way == way)
                lines.append(
                    f"| {way} | {batch}, {trials} trials | {group} | {len(mine)} | {regret:.4f} | "
                    f"{ratio(mine, others)} | {cpu:.1f} |"
                )
    return lines


def _family(one: Score) -> str:
    return FAMILIES[one.job.problem.split("/")[0]]


Key = tuple[str, int]
"""A problem and a seed."""


def by_search(found: Sequence[Score], way: str) -> dict[Key, float]:
    """Return the regret of every search; that of a function in units of the mean of all ways there."""
    scales = {
        name: statistics.fmean(one.regret for one in found if one.job.problem == name) or 1.0
        for name in {one.job.problem for one in found if _family(one) == "functions"}
    }
    mine = [one for one in found if one.job.way == way]
    return {(one.job.problem, one.job.seed): one.regret / scales.get(one.job.problem, 1.0) for one in mine}


def ratio(mine: Mapping[Key, float], base: Mapping[Key, float]) -> str:
    """Return the ratio of two means with a 95 % interval, by bootstrap over the searches they share."""
    both, generator = sorted(mine.keys() & base.keys()), random.Random(0)
    if not both:
        return "-"
    drawn = sorted(
        sum(mine[s] for s in some) / max(sum(base[s] for s in some), 1e-12)
        for some in (generator.choices(both, k=len(both)) for _ in range(_BOOTSTRAP))
    )
    whole = sum(mine[s] for s in both) / max(sum(base[s] for s in both), 1e-12)
    return f"{whole:.2f} ({drawn[_BOOTSTRAP // 40]:.2f} to {drawn[-_BOOTSTRAP // 40]:.2f})"


def kept(path: Path) -> Iterator[Score]:
    """Read what `main` wrote; a line that a stop cut off is left out."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            job, regret, cpu_sec = json.loads(line)
        except json.JSONDecodeError:
            continue
        yield Score(Job(*job), regret, cpu_sec)


def main() -> None:
    """Print a row per family, batch and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="0 prints what --out has")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--ways", default="random,plain TPE,this product", help=f"also {', '.join(PEERS)}")
    parser.add_argument("--batches", default="1,8,32,64", help="64 in flight are 200 trials, fewer 100")
    parser.add_argument("--only", action="append", help="a problem; may be given several times")
    parser.add_argument("--families", default="tables,functions")
    parser.add_argument("--out", type=Path, help="keep every search in this file, and go on from it")
    options = parser.parse_args()
    found = list(kept(options.out)) if options.out else []
    done = {one.job for one in found}
    jobs = [
        job
        for seed in range(options.seeds)  # a stop leaves whole seeds
        for batch in map(int, options.batches.split(","))
        for name in options.only or names(tuple(options.families.split(",")))
        for way in options.ways.split(",")
        if (job := Job(way, name, batch, 200 if batch > 32 else 100, seed)) not in done
    ]
    with ProcessPoolExecutor(options.workers) as pool:
        for one in pool.map(score, jobs):
            found.append(one)
            if options.out:
                with options.out.open("a") as file:
                    print(json.dumps(one), file=file)
    print("\n".join(report(found, "plain TPE")))


if __name__ == "__main__":
    main()
