"""What a recommendation is worth under noise: fresh replicates of leading points, or the best value.

On tables in their noisy form, where a trial is one repeat and the truth is the mean of all; both rules have
the same number of trials. Needs ``pip install -e .[bench]``.
"""

from __future__ import annotations

import argparse
import random
import statistics
from concurrent.futures import ProcessPoolExecutor

from benchmarks.problems import problem
from benchmarks.search import run_product
from benchmarks.tables import names

TRIALS, BATCH = 100, 8
CONFIRM = 2
_BOOTSTRAP = 2000


def regrets(job: tuple[str, int]) -> tuple[float, float]:
    """Return the true regret of what is recommended without fresh replicates, and with them."""
    name, seed = job
    chosen = problem(f"noisy:{seed}:{name}")
    whole = run_product(chosen, BATCH, TRIALS, seed, confirm=0).best()
    spared = TRIALS
    while True:  # the search is shorter by what its fresh replicates took
        study = run_product(chosen, BATCH, spared, seed, confirm=CONFIRM)
        if spared + len(study.state.confirmed) <= TRIALS:
            break
        spared -= max(spared + len(study.state.confirmed) - TRIALS, 1)
    fresh = study.best()
    assert whole is not None
    assert fresh is not None
    return chosen.regret(whole.manifest.hyperparams), chosen.regret(fresh.manifest.hyperparams)


def main() -> None:
    """Print the ratio of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    jobs = [(name, seed) for name in names() for seed in range(options.seeds)]
    with ProcessPoolExecutor(options.workers) as pool:
        found = list(pool.map(regrets, jobs))
    observed, fresh = (statistics.fmean(one[i] for one in found) for i in (0, 1))
    generator = random.Random(0)
    ratios = sorted(
        sum(b for _, b in some) / sum(a for a, _ in some)
        for some in (generator.choices(found, k=len(found)) for _ in range(_BOOTSTRAP))
    )
    low, high = ratios[_BOOTSTRAP // 40], ratios[-_BOOTSTRAP // 40]
    print(f"best observed {observed:.4f}, with fresh replicates {fresh:.4f}")
    print(f"ratio {fresh / observed:.2f} ({low:.2f} to {high:.2f}), {len(found)} searches")


if __name__ == "__main__":
    main()
