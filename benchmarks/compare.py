"""Every package on the same targets, in one run: LLC, stated error and CPU time of one core.

Run: ``python -m benchmarks.compare --peer PYTHON --peer2 PYTHON``. PYTHON has ``devinterp==1.3.2
posteriors==0.1.3 blackjax==1.7.1 torch==2.13.0``, the second one ``devinterp==2.0.1``; what is missing is
left out. Ours
runs to a standard error of 1 % or to the end of its seconds, peers for their seconds; all seconds are of CPU
time, so that other work on the machine matters less.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from parsl_optuna.kernels.diagnostics import mcse
from parsl_optuna.tasks.base import prepare_task
from parsl_optuna.tasks.llc import TASK
from torch import Tensor

from benchmarks import peer_models
from benchmarks.peers import EXAMPLES, MODEL

HERE = Path(__file__).parent
PACKAGES = {
    "devinterp1": "devinterp 1.3.2",
    "devinterp2": "devinterp 2.0.1",
    "posteriors": "posteriors 0.1.3",
}

OURS = """
import json, math, sys, time
begun = time.process_time()
import torch, numpy as np, parsl_optuna
sys.path.insert(0, sys.argv[1])
from peer_models import losses, read, split
torch.set_num_threads(1)
given = read(sys.argv[2])
x, y, centre = (torch.from_numpy(given[name]) for name in ("x", "y", "centre"))
class Flat(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(centre)
loss = lambda model, batch: losses(given["kind"], split(given["kind"], model.w), *batch, torch).mean()
from parsl_optuna.api import estimate
from parsl_optuna.core.clock import Deadline
estimate.Deadline = lambda budget: Deadline(budget, time.process_time, time.process_time())
found = parsl_optuna.estimate_llc(Flat(), loss, (x, y), precision="float32",
    relative_error=float(sys.argv[3]), budget_sec=float(sys.argv[4]), seed=int(sys.argv[5]))
print(json.dumps({"llc": found.llc, "se": found.se, "status": found.status, "reason": found.reason,
    "seconds": time.process_time() - begun, "drawing": found.metrics["diagnostics"].get("drawing_sec")}))
"""


def written(kind: str, folder: Path) -> Path:
    """Write a target with its trained weights, in float64; return the file."""
    x, y, centre = _made(kind, folder)
    path = folder / f"{kind.replace(' ', '_')}.npz"
    np.savez(path, kind=kind, x=x.numpy(), y=y.numpy(), centre=centre.numpy())
    return path


def _made(kind: str, folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs, targets and weights at a minimum; data as devinterp's tests draw them."""
    torch.manual_seed(42)
    if kind.startswith("crossing"):
        x = torch.normal(0.0, 2.0, size=(EXAMPLES,))
        y = 0.25 * torch.normal(0.0, 1.0, size=(EXAMPLES,))
        return x.double(), y.double(), torch.zeros(2, dtype=torch.float64)
    if kind == "network":
        problem = TASK.resolve({"model": MODEL, "overrides": {"data": {"n_data": EXAMPLES}}}, "benchmark")
        prepare_task(TASK, problem, folder)
        with np.load(folder / "target.npz") as arrays:
            x, y, centre = (torch.from_numpy(arrays[name]) for name in ("x", "y", "centre"))
        return x, y, centre  # its matrices lie as those of `peer_models` do
    if kind.startswith("rrr"):
        x, y = torch.randn(EXAMPLES, 5).double(), torch.randn(EXAMPLES, 5).double()
    else:
        from sklearn.datasets import load_digits  # noqa: PLC0415

        pixels, target = load_digits(return_X_y=True)
        chosen = torch.randperm(len(pixels))[:EXAMPLES]
        x = torch.from_numpy(pixels)[chosen] / 16.0
        y = torch.nn.functional.one_hot(torch.from_numpy(target)[chosen].long(), 10).double()
    return x, y, _trained(kind, x, y)


def _trained(kind: str, x: Tensor, y: Tensor) -> Tensor:
    """Return weights after Adam and L-BFGS."""
    start = [torch.randn(shape) / math.sqrt(shape[0]) for shape in peer_models.SHAPES[kind].values()]
    w = torch.cat([part.flatten() for part in start]).double().requires_grad_()

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = peer_models.losses(kind, peer_models.split(kind, w), x, y, torch).mean()
        loss.backward()
        return loss

    optimiser = torch.optim.Adam([w], lr=0.01)
    for _ in range(1000):
        optimiser.step(closure)
    optimiser = torch.optim.LBFGS([w], max_iter=1000, tolerance_grad=1e-9, line_search_fn="strong_wolfe")
    optimiser.step(closure)
    return w.detach()


def exact(kind: str, path: Path) -> float | None:
    """Return the LLC of a normal crossing at gamma 1, by quadrature."""
    if not kind.startswith("crossing"):
        return None
    given, powers = peer_models.read(str(path)), [int(power) for power in kind.split()[1:]]
    x, y = given["x"], given["y"]
    t, grid = len(x) / math.log(len(x)), np.linspace(-7.0, 7.0, 6001)
    product = grid[:, None] ** powers[0] * grid[None, :] ** powers[1]
    excess = t * (product**2 * (x * x).mean() - 2.0 * product * (x * y).mean())
    weight = np.exp(-excess - 0.5 * (grid[:, None] ** 2 + grid[None, :] ** 2))
    return float((weight * excess).sum() / weight.sum())


def printed(command: list[str]) -> dict[str, Any]:
    """Run a program on one core; return the last line that it prints."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["?"])[-1]
        return {"failed": last[:120]}
    return json.loads(done.stdout.splitlines()[-1])


def rows(path: Path, peers: dict[str, Path], seconds: float) -> list[dict[str, Any]]:
    """Return what every package says of a target."""
    ours = printed([sys.executable, "-c", OURS, str(HERE), str(path), "0.01", str(seconds), "1"])
    found = [{"package": "here"} | ours]
    for name, python in peers.items():
        if name == "blackjax":
            command = [
                str(python),
                str(HERE / "peer_blackjax.py"),
                str(path),
                "0.01",
                "nuts",
                "0",
                str(seconds),
            ]
            found.append({"package": "BlackJAX 1.7.1, NUTS"} | printed(command))
            continue
        kept = path.with_suffix(f".{name}.npy")
        command = [str(python), str(HERE / "peer_sgld.py"), name, str(path), str(seconds), str(kept)]
        row = {"package": PACKAGES[name]} | printed(command)
        if kept.exists():
            trace = torch.from_numpy(np.load(kept)).double().T
            spread: Any = row.get("spread")
            row["se"] = None if spread is None else spread / math.sqrt(trace.shape[1])
            row["llc"], row["mcse"] = float(trace.mean()), mcse(trace)
        found.append(row)
    return found


def told(kind: str, truth: float | None, row: dict[str, Any]) -> str:
    """Return a line of the table."""
    if "failed" in row:
        return f"| {kind} | {row['package']} | failed: {row['failed']} | | | | |"
    error = row.get("se")
    stated = "none" if error is None else f"{error:.2g}"
    off = "" if truth is None else f"{100 * (row['llc'] / truth - 1):+.1f} %"
    own = f"{row['mcse']:.2g}" if "mcse" in row else stated
    return (
        f"| {kind} | {row['package']} | {row['llc']:.4g} | {stated} | {own} | {off} | "
        f"{row.get('seconds', math.nan):.0f} | {row.get('status', '')} |"
    )


@click.command()
@click.option(
    "--peer", type=click.Path(path_type=Path), help="Python with devinterp 1, posteriors, BlackJAX."
)
@click.option("--peer2", type=click.Path(path_type=Path), help="Python with devinterp 2.")
@click.option("--seconds", default=20.0, show_default=True, help="CPU seconds of a package per target.")
@click.option("--only", default="", help="Targets whose names contain this.")
def main(peer: Path | None, peer2: Path | None, seconds: float, only: str) -> None:
    """Print a table in Markdown."""
    peers = {} if peer is None else {"blackjax": peer, "devinterp1": peer, "posteriors": peer}
    peers |= {} if peer2 is None else {"devinterp2": peer2}
    click.echo("| target | package | LLC | stated error | of its draws | off the truth | CPU s | status |")
    click.echo("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for kind in (kind for kind in peer_models.SHAPES if only in kind):
            path = written(kind, Path(name))
            truth = exact(kind, path)
            if truth is not None:
                click.echo(f"| {kind} | quadrature | {truth:.4f} | | | | | |")
            for row in rows(path, peers, seconds):
                print(told(kind, truth, row), flush=True)


if __name__ == "__main__":
    main()
