"""How long a worker waits for a proposal of the default sampler that knows 1,000 trials, 32 in flight.

Trials are simulated; the clock goes on by the CPU time of every proposal, during which other trials end.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from parsl_optuna.core.load import structure
from parsl_optuna.core.records import Request
from parsl_optuna.core.spec import RunSpec
from parsl_optuna.execution.simulated import SimulatedExecutor, SimulatedTrial
from parsl_optuna.store.simulated import SimulatedStore
from parsl_optuna.study.driver import Driver
from parsl_optuna.study.plan.tuning import plan_run
from parsl_optuna.study.search.points import SearchPoints

from benchmarks.problems import problem

_KNOWN, _IN_FLIGHT, _MEASURED = 1000, 32, 64
_LATE_MS = 10.0
_CASES = ((600.0, 0.5), (60.0, 0.5))
"""Mean time of a trial in seconds, and its relative spread."""


class Busy(SimulatedExecutor):
    """Trials end while the driver thinks."""

    _has_news = False

    def check(self) -> None:
        """Go on to the next end, unless the driver has news to look at."""
        if not self._has_news:
            super().check()
        self._has_news = False

    def spend(self, seconds: float) -> None:
        """Let the driver think so long."""
        self._clock += seconds
        self._pass_time()
        ended, self._ended = self._ended, []
        self._has_news = self._has_news or bool(ended)
        for work in ended:
            work.future.set_result(work.result)

    def waits(self) -> list[float]:
        """Return how long each worker that became free waited, in seconds, once all were at work.

        The first one is left out: this clock jumps to its end before the driver can ask ahead.
        """
        begins = sorted(begin for begin, _ in self._spans)
        ends = sorted(end for _, end in self._spans)
        at_work = begins[_IN_FLIGHT - 1]
        pairs = zip(begins[_IN_FLIGHT:], ends, strict=False)
        return [begin - end for begin, end in pairs if end > at_work][1:]


def waits(mean_sec: float, spread: float) -> list[float]:
    """Return the waits of a search on six real parameters."""
    draw, chosen = random.Random(0), problem("function/hartmann6")
    raw = {
        "task": "benchmarks.problems:TASK",
        "problems": [{"name": chosen.name}],
        "methods": ["look"],
        "optuna": {"max_trials": _IN_FLIGHT + _MEASURED, "batch_size": _IN_FLIGHT, "confirm": 0},
    }
    plan = plan_run(structure(RunSpec, raw, "bench"), "bench")
    (study,) = plan.studies
    points = ({name: draw.random() for name in chosen.space.dimensions} for _ in range(_KNOWN))
    learned = tuple((point, chosen.look(point, 0)[0], {}) for point in points)
    search = replace(study.search, sampler="rank_gp", learned=learned)
    plan = replace(plan, studies=(replace(study, search=search),))
    with tempfile.TemporaryDirectory() as folder:
        store = SimulatedStore(Path(folder))

        def simulate(request: Request) -> SimulatedTrial:
            manifest, _ = store.manifest(request.pid, request.method, request.trial_id)
            seconds = mean_sec * max(0.1, draw.gauss(1.0, spread))
            loss, _ = chosen.look(manifest.hyperparams, 0)
            return SimulatedTrial(seconds, store.simulate(manifest, seconds, {"loss": loss}).to_json())

        executor = Busy(_IN_FLIGHT, simulate)
        with _clocked(executor):
            Driver(plan, store, executor, lambda _: None, executor.now).run()
    return executor.waits()


class _clocked:  # noqa: N801  reads as the statement that it is
    """Have every proposal take its CPU time on an executor's clock."""

    def __init__(self, executor: Busy) -> None:
        self._executor, self._ask = executor, SearchPoints._ask

    def __enter__(self) -> None:
        executor, ask = self._executor, self._ask

        def asked(points: SearchPoints, state: Any) -> Any:
            begun = time.process_time()
            trial = ask(points, state)
            executor.spend(time.process_time() - begun)
            return trial

        setattr(SearchPoints, "_ask", asked)  # noqa: B010

    def __exit__(self, *_: object) -> None:
        SearchPoints._ask = self._ask


def main() -> None:
    """Print a row per case."""
    print("| a trial takes | relative spread | median wait | 95 % wait at most | wait more than 10 ms |")
    print("|---|---|---|---|---|", flush=True)
    for mean_sec, spread in _CASES:
        found = sorted(1e3 * wait for wait in waits(mean_sec, spread))
        middle, high = statistics.median(found), found[int(0.95 * len(found))]
        late = sum(wait > _LATE_MS for wait in found)
        print(
            f"| {mean_sec:.0f} s | {spread} | {middle:.1f} ms | {high:.1f} ms | {late} of {len(found)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
