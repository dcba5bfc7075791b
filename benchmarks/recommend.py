"""What a recommendation is worth under noise: fresh replicates of leading points, or the best value.

On tables in their noisy form, where a trial is one repeat and the truth is the mean of all; both rules have
the same number of trials. Needs ``pip install -e .[bench]``.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from parsl_optuna.core.ended import Ended
from parsl_optuna.study.plan.plans import StudyPlan
from parsl_optuna.study.search.confirm import Recommendation, recommend

from benchmarks.problems import Problem, problem
from benchmarks.search import run_product
from benchmarks.tables import names

TRIALS, BATCH = 100, 8
CONFIRM = 2
_BOOTSTRAP = 2000


def regrets(job: tuple[str, int]) -> tuple[float, float]:
    """Return the true regret of what is recommended without fresh replicates, and with them.

    The second search is the first one, shorter by what its fresh replicates took: a trial's proposal does not
    depend on how many come after it.
    """
    name, seed = job
    chosen = problem(f"noisy:{seed}:{name}")
    searched = run_product(chosen, BATCH, TRIALS, seed, confirm=0, sampler="rank_gp")
    points = sorted(searched.successes, key=lambda one: one.age)
    spared = TRIALS
    while True:
        found, n_fresh = _confirmed(chosen, searched.study, points[:spared])
        if spared + n_fresh <= TRIALS:
            break
        spared -= 1
    best = min(points, key=lambda one: one.place)
    return chosen.regret(best.manifest.hyperparams), chosen.regret(found.chosen.manifest.hyperparams)


def _confirmed(chosen: Problem, study: StudyPlan, points: Sequence[Ended]) -> tuple[Recommendation, int]:
    """Run all fresh replicates of a search of these points; return the choice and how many they were."""
    study = replace(study, max_trials=len(points), replication=replace(study.replication, confirm=CONFIRM))
    best = min(points, key=lambda one: one.place)
    fresh: list[Ended] = []
    while missing := recommend(study, points, best, fresh).missing:
        for point, number in missing:
            loss, _ = chosen.look(point.manifest.hyperparams, number)
            values = dict.fromkeys(point.objectives, loss)
            fresh.append(replace(point, objectives=values, manifest=replace(point.manifest, seed=number)))
    return recommend(study, points, best, fresh), len(fresh)


def main() -> None:
    """Print the ratio of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, help="keep every search in this file, and go on from it")
    options = parser.parse_args()
    lines = options.out.read_text().splitlines() if options.out and options.out.exists() else []
    known = {(name, seed): (a, b) for name, seed, a, b in map(json.loads, lines)}
    jobs = [(name, seed) for seed in range(options.seeds) for name in names()]
    jobs = [job for job in jobs if job not in known]
    with ProcessPoolExecutor(options.workers) as pool:
        for job, pair in zip(jobs, pool.map(regrets, jobs), strict=True):
            known[job] = pair
            if options.out:
                with options.out.open("a") as file:
                    print(json.dumps([*job, *pair]), file=file)
    print(report(list(known.values())))


def report(found: Sequence[tuple[float, float]]) -> str:
    """Return both means, and their ratio with a 95 % interval by bootstrap over searches."""
    observed, fresh = (statistics.fmean(one[i] for one in found) for i in (0, 1))
    generator = random.Random(0)
    ratios = sorted(
        sum(b for _, b in some) / sum(a for a, _ in some)
        for some in (generator.choices(found, k=len(found)) for _ in range(_BOOTSTRAP))
    )
    low, high = ratios[_BOOTSTRAP // 40], ratios[-_BOOTSTRAP // 40]
    return (
        f"best observed {observed:.4f}, with fresh replicates {fresh:.4f}\n"
        f"ratio {fresh / observed:.2f} ({low:.2f} to {high:.2f}), {len(found)} searches"
    )


if __name__ == "__main__":
    main()
