"""Every method at its defaults against targets with known answers: accuracy, coverage of intervals, honesty.

``truth`` runs the kernels of ``auto``; ``--all`` every method; ``--large`` two large networks; ``--seeds 5``
repeats. A result is a silent failure when it is further than 3 standard errors + 3 % from the truth and its
status is ok.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from parsl_optuna.core.clock import Deadline
from parsl_optuna.tasks.base import Work, prepare_task, run_task
from parsl_optuna.tasks.llc import TASK
from parsl_optuna.tasks.llc.samplers import automatic

from benchmarks.targets import LARGE, TARGETS, Known

AUTO = {f"auto {kernel}": ("auto", {"kernel": kernel}) for kernel in automatic()}
FIXED: dict[str, tuple[str, dict[str, Any]]] = {
    "hmc": ("hmc", {}),
    "sgld": ("sgld", {}),
    "rmsprop": ("sgld", {"precond_type": "rmsprop"}),
    "adam": ("sgld", {"precond_type": "adam"}),
    "mclmc": ("mclmc", {"target_accept": None}),
    "adjusted mclmc": ("mclmc", {}),
    "vi": ("vi", {}),
}


@dataclass(frozen=True)
class Row:
    """One result beside the truth."""

    target: str
    method: str
    truth: float
    uncertainty: float
    value: float
    se: float
    status: str
    reason: str | None
    seconds: float

    @property
    def error(self) -> float:
        """Relative error."""
        return self.value / self.truth - 1.0

    @property
    def is_far(self) -> bool:
        """Whether it misses by more than 3 standard errors + 3 %."""
        allowed = 3.0 * math.hypot(self.se, self.uncertainty) + 0.03 * abs(self.truth)
        return not abs(self.value - self.truth) <= allowed

    def text(self) -> str:
        """Return one line."""
        mark = "FAR " if self.is_far else "    "
        return (
            f"{self.target:32} {self.method:14} {self.truth:9.4f} {self.value:9.4f} ± {self.se:7.4f} "
            f"{self.error:+8.2%} {self.seconds:6.1f} s {mark}{self.status} {self.reason or ''}"
        )


def measure(
    known: Known,
    methods: Mapping[str, tuple[str, dict[str, Any]]],
    seeds: range,
    cpu_seconds: float | None = None,
) -> list[Row]:
    """Prepare one target and run every method on it, for so many seconds of CPU time if they are given."""
    problem = TASK.resolve(known.raw(), known.name)
    with tempfile.TemporaryDirectory() as folder:
        prepare_task(TASK, problem, Path(folder))
        truth = known.truth(problem, Path(folder)) if callable(known.truth) else known.truth
        rows = []
        for name, (method, given) in methods.items():
            if known.model.get("exponents") and len(known.model["exponents"]) == 1 and method == "mclmc":
                continue  # isokinetic dynamics needs two dimensions, and says so
            params = TASK.complete(problem, method, given, known.name)
            for seed in seeds:
                begun = time.perf_counter()
                deadline = Deadline(known.seconds)
                if cpu_seconds is not None:
                    deadline = Deadline(cpu_seconds, time.process_time)
                found = run_task(TASK, Work(problem, method, params, seed, deadline, Path(folder)))
                took = time.perf_counter() - begun
                rows.append(
                    Row(
                        known.name,
                        name,
                        truth,
                        known.uncertainty,
                        found["llc_hat"],
                        found["se_hat"],
                        found["status"],
                        found["status_reason"],
                        took,
                    )
                )
    return rows


def summaries(rows: list[Row]) -> Iterator[str]:
    """Yield a line per method: errors, silent failures, false alarms."""
    for method in dict.fromkeys(row.method for row in rows):
        mine = [row for row in rows if row.method == method]
        errors = sorted(abs(row.error) for row in mine if math.isfinite(row.error))
        silent = [row for row in mine if row.is_far and row.status == "ok"]
        near = [row for row in mine if not row.is_far]
        alarms = [row for row in near if row.status != "ok"]
        median, worst = (statistics.median(errors), errors[-1]) if errors else (math.nan, math.nan)
        yield (
            f"{method:14} {len(mine):4} results, median error {median:7.2%}, largest {worst:8.2%}, "
            f"{len(silent)} silent failures, {len(alarms)} of {len(near)} right answers not called ok"
        )


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also every method with fixed settings.")
@click.option("--large", is_flag=True, help="Two large networks instead.")
@click.option("--seeds", default=1, show_default=True)
@click.option("--first-seed", default=0, show_default=True, help="To share seeds out over runs.")
@click.option("--only", default="", help="Targets whose name contains this.")
@click.option("--method", default="", help="Methods whose name contains this, such as 'auto nuts'.")
@click.option("--cpu-seconds", type=float, help="Budget in CPU time, which other work does not take from.")
@click.option("--workers", default=1, show_default=True, help="Targets measured at once, one core each.")
def main(
    everything: bool,
    large: bool,
    seeds: int,
    first_seed: int,
    only: str,
    method: str,
    cpu_seconds: float | None,
    workers: int,
) -> None:
    """Print a line per result and a summary per method."""
    known_methods = {**AUTO, **FIXED} if everything else AUTO
    methods = {name: given for name, given in known_methods.items() if method in name}
    chosen = [known for known in (LARGE if large else TARGETS) if only in known.name]
    repeats = range(first_seed, first_seed + seeds)
    rows: list[Row] = []
    with ProcessPoolExecutor(workers) as pool:
        given = ([methods] * len(chosen), [repeats] * len(chosen), [cpu_seconds] * len(chosen))
        for found in pool.map(measure, chosen, *given):
            rows += found
            for row in found:
                click.echo(row.text())
    for line in summaries(rows):
        click.echo(line)


if __name__ == "__main__":
    main()
