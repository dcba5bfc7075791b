"""Time from process start to an LLC with 1 % standard error, beside BlackJAX, one core each.

The effective sample size (ESS) is how many independent draws would have the error that is stated: variance of
t (L - L0) over squared standard error; that of the draws alone, without control variates, is told too.

A tanh network of 1,881 parameters on 1,000 examples in single precision, and a Gaussian of 100 dimensions
with standard deviations from 0.1 to 1. The peers run in a virtual
environment of their own: ``python3.11 -m venv PEER`` and
``PEER/bin/pip install blackjax==1.7.1 posteriors==0.1.3 devinterp==1.3.2 pyro-ppl==1.9.2 torch==2.13.0``.
A peer that is not installed there is left out.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from parsl_optuna.kernels import sgld
from parsl_optuna.kernels.device import one_core
from parsl_optuna.kernels.diagnostics import ess, mcse
from parsl_optuna.tasks.base import prepare_task
from parsl_optuna.tasks.llc import TASK
from parsl_optuna.tasks.llc.problem.losses import MlpLoss
from parsl_optuna.tasks.llc.samplers import automatic

WIDTHS = (4, 40, 40, 1)
MODEL = {"kind": "mlp", "in_dim": 4, "out_dim": 1, "depth": 2, "widths": [40, 40], "activation": "tanh"}
PAIRS = 5
PEERS = ("posteriors", "devinterp", "pyro", "blackjax")
CHAINS, BATCH, STEPS = (4, 16), 256, 1000
EXAMPLES = 1000

OURS = """
import json, sys, time
begun = time.time()
import numpy as np, torch
from torch import nn
import parsl_optuna
torch.set_num_threads(1)
with np.load(sys.argv[1]) as arrays:
    x, y, centre = (torch.from_numpy(arrays[name]) for name in ("x", "y", "centre"))
sizes, layers, at = (4, 40, 40, 1), [], 0
for fan_in, fan_out in zip(sizes, sizes[1:]):
    layer = nn.Linear(fan_in, fan_out).double()
    layer.weight.data = centre[at : at + fan_in * fan_out].reshape(fan_in, fan_out).T
    at += fan_in * fan_out
    layer.bias.data = centre[at : at + fan_out]
    at += fan_out
    layers += [layer, nn.Tanh()]
found = parsl_optuna.estimate_llc(
    nn.Sequential(*layers[:-1]), nn.MSELoss(), (x, y), precision="float32", kernel=sys.argv[3],
    relative_error=float(sys.argv[2]), budget_sec=120.0, seed=int(sys.argv[4]))
told = found.metrics["diagnostics"]
print(json.dumps({"llc": found.llc, "se": found.se, "ess": float(found.excess.var()) / found.se**2,
    "plain": told["ess"], "status": found.status, "drawing": told["drawing_sec"],
    "inside": time.time() - begun}))
"""


OURS_GAUSSIAN = """
import json, sys, time
begun = time.time()
from pathlib import Path
from parsl_optuna.core.clock import Deadline
from parsl_optuna.tasks.base import Work, prepare_task, run_task
from parsl_optuna.tasks.llc import TASK
folder, error, kernel, seed = Path(sys.argv[1]).parent, float(sys.argv[2]), sys.argv[3], int(sys.argv[4])
problem = TASK.resolve(json.loads((folder / "gaussian.json").read_text()), "benchmark")
(folder / kernel).mkdir(exist_ok=True)
prepare_task(TASK, problem, folder / kernel)
params = TASK.complete(problem, "auto", {"kernel": kernel, "relative_error": error}, "benchmark")
deadline = Deadline(120.0)
found = run_task(TASK, Work(problem, "auto", params, seed, deadline, folder / kernel))
told = found["diagnostics"]
print(json.dumps({"llc": found["llc_hat"], "se": found["se_hat"], "ess": told["ess"] * told["control_gain"],
    "plain": told["ess"], "status": found["status"], "drawing": told["drawing_sec"],
    "inside": time.time() - begun}))
"""


def timed(command: list[str]) -> dict[str, Any]:
    """Run a program on one core; return what it printed and its wall time."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    begun = time.perf_counter()
    done = subprocess.run(
        ["taskset", "-c", "0", *command], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1]) | {"wall": time.perf_counter() - begun}


def own_steps(path: str, chains: int) -> float:
    """Return minibatch SGLD chain-steps per second on one thread."""
    one_core()
    with np.load(path) as arrays:
        x, y, centre = (torch.from_numpy(arrays[name]).float() for name in ("x", "y", "centre"))
    loss = MlpLoss(x, y, WIDTHS, "tanh", bias=True)
    t = len(x) / math.log(len(x))

    def potential(w: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.randint(len(x), (len(w), BATCH), generator=generator)
        value, gradient = loss.value_and_grad(w, rows)
        shift = w - centre
        return t * value + 0.5 * shift.square().sum(-1), (t * gradient).add_(shift)

    stream = torch.Generator().manual_seed(0)
    kernel = sgld.build(potential, potential, sgld.Params(1e-4))
    state = kernel.init(centre.repeat(chains, 1), stream)
    begun = 0.0
    for step in range(STEPS + 30):
        if step == 30:
            begun = time.perf_counter()
        state, _ = kernel.step(state, stream)
    return chains * STEPS / (time.perf_counter() - begun)


def compare_steps(peer: Path, path: str) -> None:
    """Print minibatch steps per second beside those of posteriors."""
    os.sched_setaffinity(0, {0})
    for chains in CHAINS:
        pairs = []
        for _ in range(PAIRS):
            theirs = timed([str(peer), script("posteriors"), path, str(chains), str(BATCH)])["steps"]
            pairs.append((own_steps(path, chains), theirs))
        ours, theirs = (float(np.median(column)) for column in zip(*pairs, strict=True))
        told = f"ours {ours:.0f}, posteriors {theirs:.0f}, ratio {ours / theirs:.1f}"
        click.echo(f"minibatch steps per second, {chains} chains, batch {BATCH}: {told}")


def compare_traces(peer: Path, path: str, name: str) -> None:
    """Print LLC and ESS per second of a peer that leaves a trace of excess losses, beside our own."""
    rates = []
    for seed in range(PAIRS):
        ours = timed([sys.executable, "-c", OURS, path, "0.01", "langevin", str(seed)])
        with tempfile.NamedTemporaryFile(suffix=".npy") as kept:
            theirs = timed([str(peer), script(name), path, kept.name])
            trace = torch.from_numpy(np.load(kept.name).T.astype(float))  # (draws, chains)
        size = ess(trace)
        rates.append((ours["ess"] / ours["drawing"], size / theirs["drawing"]))
        click.echo(
            f"{name:15} LLC {float(trace.mean()):.3f} ± {mcse(trace):.3f} ESS {size:.0f}, "
            f"{rates[-1][1]:.2f} per second of drawing"
            + (f", {theirs['steps']:.0f} steps per second" if "steps" in theirs else "")
        )
    ours, theirs = (float(np.median(column)) for column in zip(*rates, strict=True))
    click.echo(f"ESS per second of drawing: ours {ours:.1f}, {name} {theirs:.2f}, ratio {ours / theirs:.0f}")


def script(name: str) -> str:
    """Return the path of a peer's script."""
    return str(Path(__file__).with_name(f"peer_{name}.py"))


def has(peer: Path, module: str) -> bool:
    """Whether a peer is installed; say so if not."""
    found = not subprocess.run([str(peer), "-c", f"import {module}"], capture_output=True).returncode
    if not found:
        click.echo(f"{module} is not installed there")
    return found


def compare_times(peer: Path, path: str, program: str, error: float) -> None:
    """Print times to a standard error of our *program* beside BlackJAX's."""
    commands = {
        **{
            f"ours, {kernel}": [sys.executable, "-c", program, path, str(error), kernel]
            for kernel in automatic()
        },
        "blackjax": [str(peer), script("blackjax"), path, str(error), "hmc"],
        "blackjax, nuts": [str(peer), script("blackjax"), path, str(error), "nuts"],
    }
    walls: dict[str, list[float]] = {name: [] for name in commands}
    rates: dict[str, list[float]] = {name: [] for name in commands}
    plain: dict[str, list[float]] = {name: [] for name in commands}
    for seed in range(PAIRS):
        for name, command in commands.items():
            found = timed([*command, str(seed)])
            walls[name].append(found["wall"])
            rates[name].append(found["ess"] / found["drawing"])
            plain[name].append(found.get("plain", found["ess"]) / found["drawing"])
            click.echo(
                f"{name:15} LLC {found['llc']:.3f} ± {found['se']:.3f} {found.get('status', '')} "
                f"wall {found['wall']:.1f} s, ESS {found['ess']:.0f}, "
                f"{rates[name][-1]:.0f} per second of drawing, {plain[name][-1]:.0f} without controls"
            )
    for name in commands:
        click.echo(
            f"{name:15} median {np.median(walls[name]):.1f} s from process start "
            f"({np.median(walls[name]) / np.median(walls['blackjax']):.2f} of blackjax), "
            f"{np.median(rates[name]):.0f} ESS per second of drawing, "
            f"{np.median(plain[name]):.0f} without controls"
        )


def write_gaussian(folder: Path) -> str:
    """Write the Gaussian as a quadratic loss of 1,000 examples, for both; return the peer's file."""
    t = EXAMPLES / math.log(EXAMPLES)
    curvature = (np.logspace(-1.0, 0.0, 100) ** -2.0 - 1.0) / t  # a precision of 1 is the localiser's
    model = {"kind": "quadratic", "dim": len(curvature), "curvature": curvature.tolist()}
    raw = {"model": model, "overrides": {"data": {"n_data": EXAMPLES}, "posterior": {"precision": "float32"}}}
    (folder / "gaussian.json").write_text(json.dumps(raw), encoding="utf-8")
    np.savez(folder / "gaussian.npz", curvature=curvature, centre=np.zeros(len(curvature)), n=EXAMPLES)
    return str(folder / "gaussian.npz")


@click.command()
@click.option("--peer", type=click.Path(path_type=Path), required=True, help="Python that has the peers.")
@click.option("--error", default=0.01, show_default=True)
@click.option("--only", default="", help="One of the peers.")
def main(peer: Path, error: float, only: str) -> None:
    """Print a line per run and the ratios of the medians."""
    problem = TASK.resolve({"model": MODEL, "overrides": {"data": {"n_data": EXAMPLES}}}, "benchmark")
    with tempfile.TemporaryDirectory() as folder:
        prepare_task(TASK, problem, Path(folder))
        with np.load(Path(folder) / "target.npz") as arrays:
            data = {name: arrays[name] for name in ("x", "y", "centre")}
        path = str(Path(folder) / "network.npz")
        np.savez(path, sizes=np.array(WIDTHS), **data)
        chosen = [name for name in PEERS if only in name and has(peer, name)]
        if "posteriors" in chosen:
            compare_steps(peer, path)
        for name in ("devinterp", "pyro"):
            if name in chosen:
                compare_traces(peer, path, name)
        if "blackjax" in chosen:
            click.echo("network")
            compare_times(peer, path, OURS, error)
            click.echo("Gaussian")
            compare_times(peer, write_gaussian(Path(folder)), OURS_GAUSSIAN, error)


if __name__ == "__main__":
    main()
