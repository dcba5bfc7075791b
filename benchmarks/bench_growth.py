"""How the driver's CPU time per trial grows: ``python -m benchmarks.bench_growth 1500``.

Trials are simulated: no worker, no file. Beside it, what Optuna's own ask and tell take of the same number.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

import optuna
from parsl_optuna.execution.simulated import SimulatedExecutor, SimulatedTrial
from parsl_optuna.store.simulated import SimulatedStore
from parsl_optuna.study.driver import Driver

from benchmarks.bench_engine import BATCH, plan, quiet

_SIZES = (100, 500, 1000, 1500, 3000)
_WINDOW = 100
"""Trials over which a time is averaged."""


def engine(trials: int, sampler: str) -> list[float]:
    """Return the CPU time of this process at the start of every trial of a study."""
    draw, times = random.Random(0), []
    with tempfile.TemporaryDirectory() as folder:
        store = SimulatedStore(Path(folder))

        def simulate(request):
            times.append(time.process_time())
            manifest, _ = store.manifest(request.pid, request.method, request.trial_id)
            outcome = store.simulate(manifest, draw.uniform(1, 2), {"loss": draw.random()})
            return SimulatedTrial(outcome.runtime_sec, outcome.to_json())

        executor = SimulatedExecutor(BATCH, simulate)
        Driver(plan(trials, sampler), store, executor, quiet, executor.now).run()
    return times


def alone(trials: int, sampler: str) -> list[float]:
    """Return the same of Optuna, with as many trials in flight."""
    kinds = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=kinds[sampler](seed=1))
    draw, times, running = random.Random(0), [], []
    for _ in range(trials):
        times.append(time.process_time())
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        trial.suggest_float("y", 0, 1)
        running.append(trial)
        if len(running) == BATCH:
            study.tell(running.pop(0), draw.random())
    return times


def main() -> None:
    """Print a row per sampler."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    sizes = [size for size in _SIZES if size <= trials]
    print("| ms of CPU per trial, around trial | " + " | ".join(map(str, sizes)) + " |")
    print("|---" * (len(sizes) + 1) + "|")
    for sampler in ("random", "tpe"):
        for name, measure in (("engine", engine), ("Optuna alone", alone)):
            times = measure(trials, sampler)
            cells = [1e3 * (times[size - 1] - times[size - _WINDOW]) / (_WINDOW - 1) for size in sizes]
            print(f"| {name}, {sampler} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
