"""Does the default strategy of `lvae` find the dimension? Ten families of its development, and five others.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.dimensions build/dimensions.jsonl
    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.dimensions build/dimensions.jsonl --unpruned
    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.dimensions build/dimensions.jsonl --as-few

The second trains the same networks as long, with neither pruning nor volume, and the third such ones with as
few codes as the designs have parameters; the table has their errors too.
400 designs of 24 x 24 pixels (or vectors), 16 codes at the start, three seeds each; everything but size and
schedule is the default. A line per run is added to the file at once; runs that it has are not repeated. All
parameters are uniform, none is periodic, and edges are soft (2 pixels).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parsl_optuna.core.clock import Deadline
from parsl_optuna.tasks.base import Work
from parsl_optuna.tasks.lvae import TASK, train
from parsl_optuna.tasks.lvae.designs import FAMILIES as OURS
from parsl_optuna.tasks.lvae.intrinsic import intrinsic_dim
from parsl_optuna.tasks.lvae.pruning import GIVEN_BACK

from benchmarks.fresh_families import FRESH

Array = NDArray[np.float64]
SIDE, COUNT, SEEDS = 24, 400, (1, 2, 3)
SCHEDULE = {"latent_dim": 16, "width": 16, "n_epochs": 300, "pruning_epoch": 120,
            "polynomial_schedule_n": 30, "batch_size": 64, "lr": 0.002, "w_v": 5.0}  # fmt: skip
_X, _Y = np.meshgrid((np.arange(SIDE) + 0.5) / SIDE, (np.arange(SIDE) + 0.5) / SIDE)


def _between(p: Array, column: int, low: float, high: float) -> Array:
    return (low + (high - low) * p[:, column])[:, None, None]


def _soft(distance: Array) -> Array:
    """Return 1 where the distance, in units of the side, is negative, and 0 where it is positive."""
    return 1 / (1 + np.exp(2 * distance * SIDE))


def _box(x: Array, y: Array, half_width: Array | float, half_height: Array | float) -> Array:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def blobs(p: Array) -> Array:
    """Two bumps, one on the left, one on the right, that move both ways."""
    found = np.zeros((len(p), SIDE, SIDE))
    for first, left in ((0, 0.15), (2, 0.6)):
        x, y = _between(p, first, left, left + 0.25), _between(p, first + 1, 0.25, 0.75)
        found += np.exp(-((_X - x) ** 2 + (_Y - y) ** 2) / (2 * 0.1**2))
    return np.minimum(found, 1.0)


def swiss_roll(p: Array) -> Array:
    """A sheet that is rolled up: one turn and a quarter."""
    angle = np.pi * (1.0 + 2.5 * p[:, 0])
    return np.stack([angle * np.cos(angle) / 10, p[:, 1], angle * np.sin(angle) / 10], axis=1)


def profile(p: Array) -> Array:
    """The upper and the lower line of a wing: camber, its place, thickness."""
    x = (1 - np.cos(np.linspace(0, np.pi, 30)))[None] / 2
    camber, place, thick = 0.08 * p[:, :1], 0.3 + 0.3 * p[:, 1:2], 0.08 + 0.1 * p[:, 2:]
    front, back = x / place**2 * (2 * place - x), (1 - 2 * place + 2 * place * x - x**2) / (1 - place) ** 2
    middle = camber * np.where(x < place, front, back)
    half = 5 * thick * (0.2969 * np.sqrt(x) - 0.126 * x - 0.3516 * x**2 + 0.2843 * x**3 - 0.1036 * x**4)
    return np.hstack([middle + half, middle - half]) * 5


def spline(p: Array) -> Array:
    """A thick line from left to right, a cubic through four heights."""
    powers = np.vander(np.arange(4) / 3, 4)
    height = (0.25 + 0.5 * p) @ np.linalg.inv(powers).T @ np.vander(_X[0], 4).T
    return _soft(np.abs(_Y[None] - height[:, None, :]) - 0.07)


def letter_t(p: Array) -> Array:
    """A letter T: place of its stem, height of its bar, width of its strokes."""
    stem, bar, half = _between(p, 0, 0.35, 0.65), _between(p, 1, 0.15, 0.45), _between(p, 2, 0.04, 0.1)
    beam = _box(_X - 0.5, _Y - bar, 0.38, half)
    return _soft(np.minimum(beam, _box(_X - stem, _Y - (bar + 0.9) / 2, half, (0.9 - bar) / 2)))


def cross(p: Array) -> Array:
    """A cross that is turned by up to 30 degrees, and grows."""
    angle, arm = _between(p, 0, -np.pi / 12, np.pi / 12), _between(p, 1, 0.2, 0.42)
    u, v = (
        (_X - 0.5) * np.cos(angle) + (_Y - 0.5) * np.sin(angle),
        (_Y - 0.5) * np.cos(angle) - (_X - 0.5) * np.sin(angle),
    )
    return _soft(np.minimum(_box(u, v, arm, 0.07), _box(u, v, 0.07, arm)))


def ring(p: Array) -> Array:
    """A ring: its centre and radius."""
    x, y, radius = _between(p, 0, 0.4, 0.6), _between(p, 1, 0.4, 0.6), _between(p, 2, 0.15, 0.3)
    return _soft(np.abs(np.hypot(_X - x, _Y - y) - radius) - 0.06)


def two_widths(p: Array) -> Array:
    """Two bumps at fixed places, by their widths."""
    left, right = _between(p, 0, 0.08, 0.2), _between(p, 1, 0.08, 0.2)
    first = np.exp(-((_X - 0.3) ** 2 + (_Y - 0.35) ** 2) / (2 * left**2))
    return np.maximum(first, np.exp(-((_X - 0.7) ** 2 + (_Y - 0.65) ** 2) / (2 * right**2)))


def wave(p: Array) -> Array:
    """A wave: its phase, within a third of a period, its wavelength and its contrast."""
    phase, waves, contrast = _between(p, 0, 0, 2.1), _between(p, 1, 1.0, 1.6), _between(p, 2, 0.4, 1.0)
    return 0.5 + 0.5 * contrast * np.sin(2 * np.pi * waves * _X + phase + 0 * _Y)


def window(p: Array) -> Array:
    """A plate with a rectangular hole: its centre, width and height."""
    x, y = _between(p, 0, 0.4, 0.6), _between(p, 1, 0.4, 0.6)
    return 1 - _soft(_box(_X - x, _Y - y, _between(p, 2, 0.1, 0.3), _between(p, 3, 0.1, 0.3)))


FAMILIES: dict[str, tuple[Callable[[Array], Array], int]] = {
    "blobs": (blobs, 4), "swiss_roll": (swiss_roll, 2), "profile": (profile, 3), "spline": (spline, 4),
    "letter_t": (letter_t, 3), "cross": (cross, 2), "ring": (ring, 3), "two_widths": (two_widths, 2),
    "wave": (wave, 3), "window": (window, 4),
}  # fmt: skip


ALL = FAMILIES | FRESH
UNPRUNED = {"pruning_strategy": "plummet", "w_v": 0.0, "pruning_epoch": 10**6}


def as_few(name: str) -> dict[str, Any]:
    """Return what else is set where a family is learnt with as many codes as it has parameters."""
    return UNPRUNED | {"latent_dim": ALL[name][1]}


def one(name: str, seed: int, more: dict[str, Any]) -> dict[str, Any]:
    """Train on a family; return what was found."""
    make, dim = ALL[name]
    designs = make(np.random.default_rng(7).random((COUNT, dim)))
    if designs.ndim == 3:
        designs = designs[:, None]
    problem = {"data_seed": 0, "unit_range": designs.ndim == 4, "true_dim": dim}
    params = TASK.complete(problem, "lvae", {**SCHEDULE, "seed": seed, **more}, "benchmark")
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "designs.npy", designs.astype(np.float32))
        found = train.run(Work(problem, "lvae", params, seed, Deadline(), Path(folder), files=Path(folder)))
        spread = np.load(Path(folder) / "pictures.npz")["standard_deviations_of_codes"]
    kept = ("active_dims", "intrinsic_dims", "gap_dims", "effective_dims", "val_nmse", "pca_nmse", "outcome")
    events = found["pruning_events"]
    last = max((event["epoch"] for event in events if event["reason"] != GIVEN_BACK), default=None)
    head = {"family": name, "seed": seed, "dim": dim, "more": more, "last_pruned": last}
    widths = [round(float(value), 4) for value in spread if value > 0]
    return head | {key: found.get(key) for key in kept} | {"spread": widths}


def table(rows: list[dict[str, Any]], known: list[dict[str, Any]]) -> str:
    """Return the runs by family, how many runs are right, and their errors beside those of *known* others."""
    lines = [
        "| family | dimension | active | gap | error | unpruned | as few | PCA |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (_, dim) in ALL.items():
        here = [row for row in rows if row["family"] == name]
        if here:
            active, gap = (", ".join(str(row[key]) for row in here) for key in ("active_dims", "gap_dims"))
            others = [[row for row in known if row["more"] == more] for more in (UNPRUNED, as_few(name))]
            errors, whole, few = (_errors(some, name, "val_nmse") for some in (rows, *others))
            pca = _errors(rows, name, "pca_nmse")
            lines.append(f"| {name} | {dim} | {active} | {gap} | {errors} | {whole} | {few} | {pca} |")
    for key in ("active_dims", "gap_dims"):
        off = [abs(row[key] - row["dim"]) for row in rows]
        exact, near = sum(x == 0 for x in off), sum(x <= 1 for x in off)
        lines.append(f"{key}: {exact} of {len(off)} runs exact, {near} within 1")
    exact_rows = [row for row in rows if row["active_dims"] == row["dim"]]
    comparisons = (
        ("the unpruned", rows, lambda _: UNPRUNED),
        ("that with as few codes", exact_rows, as_few),
    )
    for name, some, of in comparisons:
        ratios = _ratios(some, known, of)
        if ratios:
            low, middle, high = (f"{value:.2g}" for value in np.quantile(ratios, (0, 0.5, 1)))
            lines.append(f"error over {name}, {len(ratios)} pairs: {low} to {high}, median {middle}")
    how = Counter(row["outcome"] for row in rows)
    lines.append(", ".join(f"{count} {outcome}" for outcome, count in how.most_common()))
    return "\n".join(lines)


def _ratios(
    rows: list[dict[str, Any]], known: list[dict[str, Any]], of: Callable[[str], dict[str, Any]]
) -> list[float]:
    other = {
        (row["family"], row["seed"]): row["val_nmse"] for row in known if row["more"] == of(row["family"])
    }
    pairs = [(row["val_nmse"], other.get((row["family"], row["seed"]))) for row in rows]
    return [error / beside for error, beside in pairs if beside is not None]


def _errors(rows: list[dict[str, Any]], name: str, key: str) -> str:
    return ", ".join(f"{row[key]:.2g}" for row in rows if row["family"] == name) or "-"


def _at_side(make: Callable[[Array, int], Array], p: Array) -> Array:
    return make(p, SIDE)


def neighbours() -> str:
    """Return what nearest neighbours say of these families and of those of the task, without training."""
    makers: dict[str, tuple[Callable[[Array], Array], int]] = dict(FAMILIES)
    for name, family in OURS.items():
        makers[f"{name} of the task"] = (partial(_at_side, family.make), family.dim)
    lines = ["| family | dimension | 320 at random, five sets | most of a grid of 400 |", "|---|---|---|---|"]
    for name, (make, dim) in makers.items():
        sets = [np.random.default_rng(seed).random((320, dim)) for seed in range(7, 12)]
        axis = np.linspace(0, 1, round(400 ** (1 / dim)))
        grid = np.stack(np.meshgrid(*[axis] * dim), axis=-1).reshape(-1, dim)
        sets.append(grid[np.random.default_rng(0).permutation(len(grid))[: round(0.8 * len(grid))]])
        found = [intrinsic_dim(make(points).reshape(len(points), -1)) for points in sets]
        lines.append(f"| {name} | {dim} | {', '.join(map(str, found[:5]))} | {found[5]} |")
    return "\n".join(lines)


def main() -> None:
    """Run what the file lacks; print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path, nargs="?", help="without one: what neighbours say")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="other hyperparameters")
    parser.add_argument("--families", nargs="*", default=list(ALL))
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    beside = parser.add_mutually_exclusive_group()
    beside.add_argument("--unpruned", action="store_true", help="neither pruning nor volume")
    beside.add_argument(
        "--as-few", action="store_true", help="nor more codes than parameters, from the start"
    )
    given = parser.parse_args()
    if given.file is None:
        print(neighbours())
        return
    more = {name: json.loads(value) for name, _, value in (text.partition("=") for text in given.set)}
    given.file.parent.mkdir(parents=True, exist_ok=True)
    lines = given.file.read_text().splitlines() if given.file.exists() else []
    known = [json.loads(line) for line in lines]
    rows = []
    for seed in given.seeds:
        for name in given.families:
            how = UNPRUNED if given.unpruned else as_few(name) if given.as_few else {}
            wanted = {"family": name, "seed": seed, "more": how | more}
            found = next((row for row in known if wanted.items() <= row.items()), None)
            if found is None:
                found = one(name, seed, how | more)
                known.append(found)
                with given.file.open("a") as stream:
                    stream.write(json.dumps(found) + "\n")
            rows.append(found)
    print(table(rows, known))


if __name__ == "__main__":
    main()
