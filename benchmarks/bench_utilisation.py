"""How busy workers are kept: eight studies on 64 simulated workers, against one study after another.

The real driver on both sides, its queue and its workers simulated, the same time for the same trial. The
other side is the order of the document this product grew from: all references first, then study after study,
each with its trials in flight; once with the same number in flight, once with as many as there are workers.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from parsl_optuna.core.load import structure
from parsl_optuna.core.spec import RunSpec
from parsl_optuna.execution.simulated import SimulatedExecutor, SimulatedTrial
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.driver import Driver
from parsl_optuna.study.plan.plans import RunPlan
from parsl_optuna.study.plan.tuning import plan_run
from parsl_optuna.study.simulation import Simulation, Times

from benchmarks.bench_engine import quiet

WORKERS = 64
SHORTEST_SEC, SPREAD = 30.0, 20.0
TRIALS, BATCH = 120, 32
REFERENCE_SEC = 600.0
SEEDS = 5


def plan() -> RunPlan:
    """Return eight studies, two methods on four problems."""
    raw = {
        "task": "llc",
        "problems": [{"model": {"kind": "quadratic", "dim": d}} for d in (2, 3, 4, 5)],
        "methods": ["sgld", "mclmc"],
        "optuna": {"max_trials": TRIALS, "batch_size": BATCH, "sampler": "random", "confirm": 0},
    }
    return plan_run(structure(RunSpec, raw, "bench"), "bench")


def mix(seed: int) -> tuple[RunPlan, Times]:
    """Return the studies and, for each, the times its trials may take: together a factor of 20 and more."""
    studies, draw = plan(), random.Random(seed)
    shares = [index / (len(studies.studies) - 1) for index in range(len(studies.studies))]
    draw.shuffle(shares)
    means = [SHORTEST_SEC * SPREAD**share for share in shares]
    times: Times = {
        ("trial", study.method, study.pid): [mean * draw.uniform(0.7, 1.3) for _ in range(200)]
        for study, mean in zip(studies.studies, means, strict=True)
    }
    for problem in studies.problems:
        assert problem.reference is not None
        times["reference", problem.reference.method] = [REFERENCE_SEC]
    return studies, times


class Timed(Simulation):
    """Trials that take a time of their own study, references theirs, proposals none."""

    def __init__(self, studies: RunPlan, times: Times, folder: Path) -> None:
        super().__init__(studies, ArtifactStore(folder), {}, times)

    def simulate(self, request) -> SimulatedTrial:
        """Return the same time for the same trial in any order."""
        self._random.seed(request.trial_id)
        return super().simulate(request)


def run(orders: Sequence[RunPlan], simulation: Timed) -> tuple[float, float]:
    """Run plans one after another; return the makespan, and utilisation until the last trial starts."""
    executor = SimulatedExecutor(WORKERS, simulation.simulate)
    for one in orders:
        Driver(one, simulation.store, executor, quiet, executor.now).run()
    usage = executor.usage()
    return usage.makespan_sec, usage.busy_before_sec / (WORKERS * usage.last_start_sec)


def in_turn(studies: RunPlan, batch: int) -> list[RunPlan]:
    """Return the references alone, then every study alone."""
    alone = [replace(studies, studies=(replace(one, batch_size=batch),)) for one in studies.studies]
    return [replace(studies, studies=()), *alone]


def main() -> None:
    """Print a line per order."""
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for seed in range(SEEDS):
            studies, times = mix(seed)
            for label, build in {
                "together": lambda p: [p],
                f"in turn, {BATCH} in flight": lambda p: in_turn(p, BATCH),
                f"in turn, {WORKERS} in flight": lambda p: in_turn(p, WORKERS),
            }.items():
                simulation = Timed(studies, times, Path(name))
                found.setdefault(label, []).append(run(build(simulation.plan), simulation))
    first = found["together"]
    for label, runs in found.items():
        spans, shares = zip(*runs, strict=True)
        ratio = sum(spans) / sum(span for span, _ in first)
        print(f"{label:24} makespan {sum(spans) / len(spans) / 60:6.1f} min (ratio {ratio:.2f}), "
              f"utilisation until the last start {min(shares):.1%} to {max(shares):.1%}")  # fmt: skip


if __name__ == "__main__":
    main()
