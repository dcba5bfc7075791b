"""What the engine costs: no-op trials per second against bare Parsl, and its time per trial against Optuna's.

Both sides of each ratio are measured in this run, on two workers of this machine.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
from parsl_optuna.core.load import structure
from parsl_optuna.core.spec import RunSpec
from parsl_optuna.execution.apps import ParslExecutor
from parsl_optuna.execution.configs import local_config
from parsl_optuna.execution.inline import InlineExecutor
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.driver import Driver
from parsl_optuna.study.plan.tuning import plan_run

TRIALS = 2000
BATCH = 32


def plan(trials, sampler="random", batch=BATCH):
    """Return a run of no-op trials."""
    raw = {
        "task": "benchmarks.noop:TASK",
        "problems": [{"kind": "none"}],
        "methods": ["noop"],
        "optuna": {"max_trials": trials, "batch_size": batch, "sampler": sampler, "confirm": 0},
    }
    return plan_run(structure(RunSpec, raw, "bench"), "bench")


def quiet(snapshot):
    """Show nothing."""
    del snapshot


def bare_parsl(folder):
    """Return no-op tasks per second through Parsl alone, the same number in flight."""
    executor = ParslExecutor(lambda: local_config(Path(folder) / "runinfo", workers=2))
    [executor.submit(abs, 1).result() for _ in range(4)]
    begun = time.perf_counter()
    done, waiting = 0, [executor.submit(abs, 1) for _ in range(BATCH)]
    while done < TRIALS:
        waiting.pop(0).result()
        done += 1
        if done + len(waiting) < TRIALS:
            waiting.append(executor.submit(abs, 1))
    rate = TRIALS / (time.perf_counter() - begun)
    executor.close()
    return rate


def through_driver(folder):
    """Return no-op trials per second from the first started to the last ended, through everything."""
    executor = ParslExecutor(lambda: local_config(Path(folder) / "runinfo", workers=2))
    [executor.submit(abs, 1).result() for _ in range(4)]
    store = ArtifactStore(Path(folder) / "artifacts")
    Driver(plan(8), store, executor, quiet).run()  # starts the children
    begun = time.perf_counter()
    Driver(plan(TRIALS), store, executor, quiet).run()
    rate = (TRIALS - 8) / (time.perf_counter() - begun)
    executor.close()
    return rate


def driver_alone(folder, trials):
    """Return seconds per trial of a driver whose trials run in this process, less the trials themselves."""
    store = ArtifactStore(Path(folder) / f"artifacts-{trials}")
    begun = time.perf_counter()
    Driver(plan(trials, "tpe", 1), store, InlineExecutor(), quiet).run()
    return (time.perf_counter() - begun) / trials


def optuna_alone(trials):
    """Return seconds per trial of Optuna's ask and tell, the same space and sampler."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    unit = optuna.distributions.FloatDistribution(0.0, 1.0)
    space: dict[str, optuna.distributions.BaseDistribution] = {"x": unit, "y": unit}
    begun = time.perf_counter()
    for _ in range(trials):
        trial = study.ask(space)
        study.tell(trial, trial.params["x"])
    return (time.perf_counter() - begun) / trials


class TimedExecutor:
    """Threads that run a trial some time after its submission, and note how long until the next one comes."""

    isolates = False

    def __init__(self, seconds: float) -> None:
        self._seconds, self._pool = seconds, ThreadPoolExecutor(BATCH)
        self._ended: list[float] = []
        self.waited: list[float] = []

    def submit(self, function: Callable[..., Any], *args: Any, urgency: float = 0.0) -> Future[Any]:
        """Run ``function(*args)`` after a while."""
        del urgency
        if self._ended:
            self.waited.append(time.perf_counter() - self._ended.pop(0))

        def later() -> Any:
            time.sleep(self._seconds)
            result = function(*args)
            self._ended.append(time.perf_counter())
            return result

        return self._pool.submit(later)

    def check(self) -> None:
        """Do nothing."""

    def status(self) -> None:
        """Return nothing: nobody looks."""

    def replace(self, future: Future[Any]) -> None:
        """Do nothing: nothing is late."""

    def drain(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown()


def wait_for_next(folder: Path, trials: int, *, ahead: bool) -> float:
    """Return the median of how long a worker waits for its next trial, TPE knowing so many, two in flight."""
    Driver(plan(trials), ArtifactStore(folder), InlineExecutor(), quiet).run()
    executor = TimedExecutor(0.3)
    driver = Driver(plan(trials + 40, "tpe", 2), ArtifactStore(folder), executor, quiet)
    if not ahead:
        driver._ask_ahead = lambda: None
    driver.run()
    executor.close()
    return statistics.median(executor.waited)


def main() -> None:
    """Print the figures."""
    os.chdir(Path(__file__).resolve().parents[1])
    sizes = [int(word) for word in sys.argv[1:]] or [100, 1000]
    for label, place in {"memory": Path("/dev/shm"), "disk": None}.items():
        if place is not None and not place.is_dir():
            continue
        with tempfile.TemporaryDirectory(dir=place) as folder:
            pairs = [
                (through_driver(Path(folder) / f"d{i}"), bare_parsl(Path(folder) / f"b{i}")) for i in range(3)
            ]
        ratios = sorted(mine / bare for mine, bare in pairs)
        mine, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(f"artifacts in {label}: no-op trials/s through the driver {mine:.0f}, "
              f"tasks/s of bare Parsl {bare:.0f}, "
              f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for trials in sizes:
            own, theirs = driver_alone(folder, trials), optuna_alone(trials)
            print(f"{trials:6} trials: driver {1e3 * own:.2f} ms per trial, Optuna ask+tell "
                  f"{1e3 * theirs:.2f} ms, ratio {own / theirs:.2f}")  # fmt: skip
        for trials in sizes:
            waits = [
                1e3 * wait_for_next(Path(folder) / f"w{trials}-{ahead}", trials, ahead=ahead)
                for ahead in (True, False)
            ]
            print(f"{trials:6} trials: a worker waits {waits[0]:.1f} ms for its next one, "
                  f"{waits[1]:.1f} ms if it is not asked ahead, ratio {waits[0] / waits[1]:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
