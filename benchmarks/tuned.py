"""What tuning is worth: chosen points on fresh seeds beside the preset, a random `ok` trial, and `auto`.

First a search, then this; results are kept as they end, and a run that is there is not repeated:

    .venv/bin/parsl-optuna --config benchmarks/tuned.yaml --local --artifacts-dir build/tuned/artifacts \
        --results-dir build/tuned/results
    .venv/bin/python -m benchmarks.tuned build/tuned

Budgets are in seconds of CPU time, so that other programs on the machine change nothing.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import click
import pandas as pd
from parsl_optuna.core.clock import Deadline
from parsl_optuna.tasks.base import Work, run_task
from parsl_optuna.tasks.llc import TASK

_FIRST_SEED = 10_000
"""Seeds of trials are derived from their ids, and far larger."""

_SIGMAS = 1.96
"""Standard errors of an interval of 95 %."""


class Point(NamedTuple):
    """What runs on fresh seeds.

    Attributes:
        pid: Id of the problem.
        label: Of the problem.
        method: Name of the method.
        role: ``tuned``, ``random ok``, ``preset`` or ``auto``.
        params: Complete hyperparameters.
        reference: LLC of the reference, and its standard error.
    """

    pid: str
    label: str
    method: str
    role: str
    params: Mapping[str, Any]
    reference: tuple[float, float]

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from others."""
        return self.pid, self.method, self.role


def points(folder: Path) -> Iterator[Point]:
    """Yield the points of the tuning run in *folder*; a method without an `ok` trial has no random one."""
    trials = pd.read_parquet(folder / "results" / "optuna_trials.parquet")
    for study in json.loads((folder / "results" / "best.json").read_text())["studies"]:
        pid, method, found = study["pid"], study["method"], study["estimate"]
        reference = found["reference"], found["reference_se"]
        yield Point(pid, study["problem"], method, "tuned", study["hyperparams"], reference)
        others = sorted(
            row["hyperparams_json"]
            for row in trials.to_dict("records")
            if (row["pid"], row["method"], row["status"]) == (pid, method, "ok")
            and row["trial_id"] != study["trial_id"]
        )
        if others:
            params = json.loads(random.Random(f"{pid}{method}").choice(others))
            yield Point(pid, study["problem"], method, "random ok", params, reference)
        for one in study["baselines"]:
            name = one["name"] if one["name"] in TASK.methods else method
            yield Point(pid, study["problem"], name, one["name"], one["hyperparams"], reference)


def measured(point: Point, seed: int, budget_sec: float, folder: Path) -> dict[str, Any]:
    """Run a point once."""
    problem_folder = folder / "artifacts" / "problems" / point.pid
    problem = json.loads((problem_folder / "problem.json").read_text())["problem"]
    deadline = Deadline(budget_sec, time.process_time)
    work = Work(problem, point.method, point.params, seed, deadline, problem_folder / "prepared")
    found = run_task(TASK, work)
    kept = {name: found[name] for name in ("llc_hat", "se_hat", "bias", "status")}
    return {"point": point.key, "seed": seed, **kept, "seconds": deadline.used_sec}


def line(point: Point, runs: Sequence[Mapping[str, Any]]) -> str:
    """Return a row of the table: how often it was ok, its error with intervals, and its time."""
    reference, reference_se = point.reference
    finite = [run for run in runs if math.isfinite(run["llc_hat"])]
    errors = [run["llc_hat"] - reference for run in finite]
    stated = [math.hypot(run["se_hat"], run["bias"] or 0.0, reference_se) for run in finite]
    scores = [max(abs(error), size) for error, size in zip(errors, stated, strict=True)]
    covered = sum(abs(error) <= _SIGMAS * size for error, size in zip(errors, stated, strict=True))
    spread = stdev(errors) / math.sqrt(len(errors)) if len(errors) > 1 else math.nan
    squares = [score**2 for score in scores]
    rms = math.sqrt(fmean(squares)) if squares else math.nan
    half = _SIGMAS * stdev(squares) / math.sqrt(len(squares)) / (2 * rms) if len(squares) > 1 else math.nan
    counts = Counter(run["status"] for run in runs)
    statuses = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    error = f"{fmean(errors) if errors else math.nan:+.3f} ± {_SIGMAS * math.hypot(spread, reference_se):.3f}"
    seconds = fmean(run["seconds"] for run in runs)
    name = point.role if point.role == point.method else f"{point.method} {point.role}"
    return (
        f"| {point.label} | {name} | {rms:.3f} ± {half:.3f} | {error} "
        f"| {covered} of {len(finite)} | {statuses} | {seconds:.1f} |"
    )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--replicates", default=20, show_default=True, help="Fresh seeds per point.")
@click.option("--budget", "budget_sec", default=5.0, show_default=True, help="Seconds of CPU time per run.")
@click.option("--only", default="", help="Problems whose label contains this.")
def main(folder: Path, replicates: int, budget_sec: float, only: str) -> None:
    """Repeat the points of a tuning run, and print a row per point."""
    out = folder / "fresh.jsonl"
    known = [json.loads(text) for text in out.read_text().splitlines()] if out.exists() else []
    chosen = [point for point in points(folder) if only in point.label]
    done = {(*run["point"], run["seed"]) for run in known}
    for seed in range(
        _FIRST_SEED, _FIRST_SEED + replicates
    ):  # whole rounds, so that a stop leaves equal numbers
        for point in chosen:
            if (*point.key, seed) not in done:
                run = measured(point, seed, budget_sec, folder)
                known.append(json.loads(json.dumps(run)))
                with out.open("a") as file:
                    file.write(json.dumps(run) + "\n")
    click.echo("| problem | point | score | difference | in interval | status | s |")
    click.echo("|---|---|---|---|---|---|---|")
    for point in chosen:
        click.echo(line(point, [run for run in known if tuple(run["point"]) == point.key]))


if __name__ == "__main__":
    main()
