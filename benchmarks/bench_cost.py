"""Time of a gradient, memory of a run against dimension, examples, chains, batch and draws; with a picture.

Each curve is fitted by a power law in its upper half, where overheads count less; beside it stands the
power of the formula: a pass through a network of d weights on n examples in C chains is 6 C n d operations.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from parsl_optuna.tasks.llc.problem.losses import MlpLoss

PICTURE = Path(__file__).with_name("cost.png")
DRAWS = (1_000, 4_000, 16_000)


@dataclass(frozen=True)
class Curve:
    """Seconds of one gradient against one size, and the power that the formula has."""

    name: str
    sizes: tuple[int, ...]
    build: Callable[[int], tuple[int, int, int, int | None]]
    power: float
    why: str


CURVES = (
    Curve(
        "width", (16, 32, 64, 128, 256), lambda w: (w, 1000, 4, None), 2.0, "two hidden layers: d ~ width^2"
    ),
    Curve("examples", (500, 2000, 8000, 32000), lambda n: (40, n, 4, None), 1.0, "one pass over the data"),
    Curve("chains", (8, 16, 32, 64, 128), lambda c: (40, 1000, c, None), 1.0, "every chain its own pass"),
    Curve("batch", (64, 256, 1024, 4096), lambda b: (40, 8192, 16, b), 1.0, "only the batch is touched"),
    Curve("examples, at batch 256", (1024, 8192, 65536), lambda n: (40, n, 16, 256), 0.0, "the rest is not"),
)


def seconds(width: int, n: int, chains: int, batch: int | None) -> float:
    """Return the median time of one gradient of a 4-width-width-1 tanh network."""
    stream = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, 4, generator=stream), torch.randn(n, 1, generator=stream)
    loss = MlpLoss(x, y, (4, width, width, 1), "tanh", bias=True)
    w = 0.3 * torch.randn(chains, loss.dim, generator=stream)
    times = []
    while len(times) < 5 or (sum(times) < 0.3 and len(times) < 50):
        rows = None if batch is None else torch.randint(n, (chains, batch), generator=stream)
        begun = time.perf_counter()
        loss.value_and_grad(w, rows)
        times.append(time.perf_counter() - begun)
    return float(np.median(times[1:]))


def memory(draws: int) -> float:
    """Return the peak memory in MB of an estimate of at least so many clock readings, in its own process."""
    code = f"import benchmarks.bench_cost as b; b.run_draws({draws})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["megabytes"])


def run_draws(draws: int) -> None:
    """Draw from a quadratic target with as much memory as it takes; print it."""
    from parsl_optuna.core.clock import Deadline  # noqa: PLC0415
    from parsl_optuna.store.checkpoint import Checkpoint  # noqa: PLC0415
    from parsl_optuna.tasks.llc.engine.stages import Stages  # noqa: PLC0415
    from parsl_optuna.tasks.llc.problem.estimand import Estimand  # noqa: PLC0415
    from parsl_optuna.tasks.llc.problem.losses import QuadraticLoss  # noqa: PLC0415
    from parsl_optuna.tasks.llc.problem.spec import Posterior  # noqa: PLC0415
    from parsl_optuna.tasks.llc.problem.target import Target, examine  # noqa: PLC0415
    from parsl_optuna.tasks.llc.samplers.auto import Params, estimate  # noqa: PLC0415

    centre = torch.zeros(10, dtype=torch.float64)
    loss, stream = QuadraticLoss(torch.full((10,), 2.0).double(), 0.0, 1000, 1.0), torch.Generator()
    target = Target(Posterior(), loss, centre, *examine(loss, centre, Posterior(), stream.manual_seed(0)))
    # About 9 reads of the clock per draw: a deadline in draws, not in seconds.
    ticks = iter(range(10**9))
    deadline = Deadline(float(draws), now=lambda: float(next(ticks)))
    estimand = Estimand(target)
    estimate(estimand, Params("hmc", 1e-12, 64), Stages(Checkpoint(), stream, estimand), deadline)
    print(json.dumps({"megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def main() -> None:
    """Print a line per curve and write the picture."""
    torch.set_num_threads(1)
    figure = Figure(figsize=(3.4 * len(CURVES), 3.4), layout="constrained")
    for axis, curve in zip(figure.subplots(1, len(CURVES)), CURVES, strict=True):
        times = [seconds(*curve.build(size)) for size in curve.sizes]
        upper = slice(len(times) // 2, None)
        logs = np.log(curve.sizes[upper]), np.log(times[upper])
        slope = float(np.polyfit(*logs, 1)[0])
        print(f"{curve.name:24} time ~ size^{slope:.2f}, formula {curve.power:.0f} ({curve.why})")
        axis.loglog(curve.sizes, times, "o-", label=f"measured, power {slope:.2f}")
        expected = times[-1] * (np.array(curve.sizes) / curve.sizes[-1]) ** curve.power
        axis.loglog(curve.sizes, expected, ":", label=f"formula, power {curve.power:.0f}")
        axis.set(xlabel=curve.name, ylabel="seconds per gradient")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(PICTURE, dpi=80)
    for draws in DRAWS:
        print(f"peak memory after {draws:6} draws: {memory(draws):.0f} MB")


if __name__ == "__main__":
    main()
