"""Do intervals contain the truth? Every method at good and at bad settings, on six targets of known answers.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.coverage --seeds 40 --out build/coverage.jsonl

Runs are kept as they end, and a run that is there is not repeated. An interval is the estimate ± 1.96 times
the root of variance + bias². Budgets are in seconds of CPU time, so that other programs on the machine change
nothing.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from parsl_optuna.core.clock import Deadline
from parsl_optuna.tasks.base import Work, prepare_task, run_task
from parsl_optuna.tasks.llc import TASK

from benchmarks.targets import TARGETS

NAMES = (
    "quadratic, d 10", "quadratic, d 50, half flat", "w1^2 w2^2",
    "dln 2-2-2 r0", "dln 3-2-3 r0", "dln 3-3-3 r1",
)  # fmt: skip

_SGLD = {"chains": 16, "steps": 6000, "gamma": 0.0}
_MCLMC = {"chains": 16, "steps": 3000, "step_size": 0.25}
_UNTESTED = {"chains": 16, "steps": 4000, "warmup": 600, "target_accept": None}

SETTINGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "sgld good": ("sgld", _SGLD | {"eta0": 2e-3, "gamma": 0.1}),
    "sgld short": ("sgld", _SGLD | {"eta0": 2e-4, "gamma": 0.5}),
    "sgld long": ("sgld", _SGLD | {"eta0": 4e-3, "steps": 4000}),
    "sgld euler": ("sgld", _SGLD | {"eta0": 2e-3, "noise": "euler"}),
    "sgld rmsprop": ("sgld", _SGLD | {"eta0": 5e-3, "gamma": 0.1, "precond_type": "rmsprop"}),
    "mclmc good": ("mclmc", _MCLMC | {"L": 1.0, "target_accept": 0.8}),
    "mclmc short L": ("mclmc", _MCLMC | {"L": 0.4, "target_accept": 0.6}),
    "mclmc long L": ("mclmc", _MCLMC | {"L": 3.0, "target_accept": 0.9}),
    "untested 1e-6": ("mclmc", _UNTESTED | {"energy_variance": 1e-6}),
    "untested 5e-4": ("mclmc", _UNTESTED | {"energy_variance": 5e-4}),
    "vi good": ("vi", {"lr": 0.02, "steps": 1500}),
    "vi slow": ("vi", {"lr": 1e-3, "steps": 1500}),
    "auto langevin": ("auto", {"kernel": "langevin"}),
    "auto hmc": ("auto", {"kernel": "hmc"}),
    "auto sgld": ("auto", {"kernel": "sgld"}),
}
"""Method and hyperparameters by name. ``euler`` and ``5e-4`` are biased, ``short`` and ``slow`` late."""

_SIGMAS = 1.96


def run(name: str, problem: Mapping[str, Any], seed: int, budget_sec: float, folder: Path) -> dict[str, Any]:
    """Run a setting once, and return its metrics."""
    method, given = SETTINGS[name]
    params = TASK.complete(problem, method, given, name)
    return run_task(
        TASK, Work(problem, method, params, seed, Deadline(budget_sec, time.process_time), folder)
    )


def summaries(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a row of the table per setting."""
    yield "| setting | runs | ok | of these covered | without bias | all covered | silent failures |"
    yield "|---|---|---|---|---|---|---|"
    for name in SETTINGS:
        mine = [row for row in rows if row["name"] == name and math.isfinite(row["llc_hat"])]
        if not mine:
            continue
        fine = [row for row in mine if row["status"] == "ok"]
        silent = sum(_is_silent(row) for row in fine)
        yield (
            f"| {name} | {len(mine)} | {len(fine)} | {_share([_covers(row) for row in fine])} "
            f"| {_share([_covers(row, with_bias=False) for row in fine])} "
            f"| {_share([_covers(row) for row in mine])} | {silent} |"
        )


def _stated(row: Mapping[str, Any], *, with_bias: bool = True) -> float:
    return math.hypot(row["se_hat"], (row["bias"] or 0.0) if with_bias else 0.0, row["uncertainty"])


def _covers(row: Mapping[str, Any], *, with_bias: bool = True) -> bool:
    return abs(row["llc_hat"] - row["truth"]) <= _SIGMAS * _stated(row, with_bias=with_bias)


def _is_silent(row: Mapping[str, Any]) -> bool:
    """Whether it is further off than 3 stated errors and 3 %, as in `benchmarks.truth`."""
    return abs(row["llc_hat"] - row["truth"]) > 3.0 * _stated(row) + 0.03 * row["truth"]


def _share(found: Sequence[bool]) -> str:
    """Return a share in per cent with its interval of 95 % (Wilson 1927)."""
    n = len(found)
    if not n:
        return "-"
    share, z2 = sum(found) / n, _SIGMAS**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _SIGMAS * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return f"{share:.0%} ({middle - half:.0%} to {middle + half:.0%})"


@click.command()
@click.option("--seeds", default=40, show_default=True)
@click.option("--only", default="", help="Settings whose name contains this.")
@click.option("--budget", "budget_sec", default=3.0, show_default=True, help="Seconds of CPU time per run.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where runs are kept.")
def main(seeds: int, only: str, budget_sec: float, out: Path) -> None:
    """Measure, and print a row per setting."""
    rows = [json.loads(text) for text in out.read_text().splitlines()] if out.exists() else []
    done = {(row["target"], row["name"], row["seed"]) for row in rows}
    with tempfile.TemporaryDirectory() as root:
        targets = []
        for index, known in enumerate(known for known in TARGETS if known.name in NAMES):
            problem, folder = TASK.resolve(known.raw(), known.name), Path(root) / str(index)
            folder.mkdir()
            prepare_task(TASK, problem, folder)
            targets.append((known, problem, folder))
        for seed in range(1000, 1000 + seeds):  # whole rounds, so that a stop leaves equal numbers
            for known, problem, folder in targets:
                for name in (name for name in SETTINGS if only in name):
                    if (known.name, name, seed) in done:
                        continue
                    found = run(name, problem, seed, budget_sec, folder)
                    kept = {
                        key: found[key] for key in ("llc_hat", "se_hat", "bias", "status", "status_reason")
                    }
                    where = {"target": known.name, "name": name, "seed": seed}
                    rows.append(where | kept | {"truth": known.truth, "uncertainty": known.uncertainty})
                    with out.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    for text in summaries(rows):
        click.echo(text)


if __name__ == "__main__":
    main()
