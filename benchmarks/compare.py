"""Every package on the same targets, in one run: LLC, errors, ESS and CPU time of one core.

Run: ``python -m benchmarks.compare --peer PYTHON --peer2 PYTHON``. PYTHON has ``devinterp==1.3.2
posteriors==0.1.3 blackjax==1.7.1 torch==2.13.0``, the second one ``devinterp==2.0.1``; what is missing is
left out. Ours and BlackJAX run to a standard error of 1 % or to the end of their seconds, the other peers for
their seconds; all seconds are of CPU time, so that other work on the machine matters less.

ESS per second is of the draws alone, without control variates, in the time of drawing. The time to 1 % is
that of everything before plus as much drawing as a standard error of 1 % would take, control variates
included. Both are of what the draws show: of chains that have not left their start they say nothing.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from parsl_optuna.kernels.diagnostics import ess, mcse
from parsl_optuna.tasks.base import prepare_task
from parsl_optuna.tasks.llc import TASK
from torch import Tensor

from benchmarks import peer_models, rank_regression
from benchmarks.peers import EXAMPLES, MODEL

HERE = Path(__file__).parent
_WANTED = 0.01
_DIGITS = 300
"""Of classifiers: as many as a minute of one core does something with."""
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
from peer_models import GAMMA, losses, read, split
torch.set_num_threads(1)
given = read(sys.argv[2])
x, y, centre = (torch.from_numpy(given[name]) for name in ("x", "y", "centre"))
class Flat(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(centre)
gamma = GAMMA.get(given["kind"], 1.0)
def loss(model, batch):
    return losses(given["kind"], split(given["kind"], model.w), *batch, torch).mean()
model = Flat()
if given["kind"] == "network":  # as a user has it
    w, layers = split("network", centre), []
    for name in "abc":
        layers += [torch.nn.Linear(*w[name].shape), torch.nn.Tanh()]
        layers[-2].weight.data, layers[-2].bias.data = w[name].T.clone(), w[name + "b"].clone()
    model, loss = torch.nn.Sequential(*layers[:-1]), torch.nn.MSELoss()
from parsl_optuna.api import estimate
from parsl_optuna.core.clock import Deadline
estimate.Deadline = lambda budget: Deadline(budget, time.process_time, time.process_time())
found = parsl_optuna.estimate_llc(model, loss, (x, y), precision="float32", gamma=gamma,
    relative_error=float(sys.argv[3]), budget_sec=float(sys.argv[4]), seed=int(sys.argv[5]))
told = found.metrics["diagnostics"]
print(json.dumps({"llc": found.llc, "se": found.se, "ess": told["ess"], "status": found.status,
    "reason": found.reason, "seconds": time.process_time() - begun, "drawing": told.get("drawing_sec")}))
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
        chosen = torch.randperm(len(pixels))[:_DIGITS]
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
    """Return the LLC at gamma 1 of a normal crossing, by quadrature, or of a rank regression."""
    given = peer_models.read(str(path))
    x, y = given["x"], given["y"]
    t = len(x) / math.log(len(x))
    if kind.startswith("rrr"):
        layers = peer_models.split(kind, given["centre"])
        return rank_regression.answer(x, y, layers["a"], layers["b"], t)[0]
    if not kind.startswith("crossing"):
        return None
    powers, grid = [int(power) for power in kind.split()[1:]], np.linspace(-7.0, 7.0, 6001)
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


def rows(path: Path, peers: dict[str, Path], seconds: float, seed: int) -> Iterator[dict[str, Any]]:
    """Yield what every package says of a target."""
    limits = ["0.01", str(seconds), str(seed)]
    yield {"package": "here"} | printed([sys.executable, "-c", OURS, str(HERE), str(path), *limits])
    for name, python in peers.items():
        if name == "blackjax":
            for sampler in ("hmc", "nuts"):
                command = [str(python), str(HERE / "peer_blackjax.py"), str(path), "0.01", sampler]
                row = printed([*command, str(seed), str(seconds)])
                yield (
                    {"package": f"BlackJAX 1.7.1, {sampler.upper()}"}
                    | row
                    | {"drawing": row.get("drawing_cpu")}
                )
            continue
        kept = path.with_suffix(f".{name}.npy")
        kept.unlink(missing_ok=True)
        command = [
            str(python),
            str(HERE / "peer_sgld.py"),
            name,
            str(path),
            str(seconds),
            str(kept),
            str(seed),
        ]
        row = {"package": PACKAGES[name]} | printed(command)
        if kept.exists():
            trace = torch.from_numpy(np.load(kept)).double().T
            spread: Any = row.get("spread")
            row["se"] = None if spread is None else spread / math.sqrt(trace.shape[1])
            row["llc"], row["mcse"], row["ess"] = float(trace.mean()), mcse(trace), ess(trace)
        yield row


def own_error(row: dict[str, Any]) -> float:
    """Return the standard error that the draws themselves show."""
    found = row.get("mcse", row.get("se"))
    return math.nan if found is None else float(found)


def per_second(row: dict[str, Any]) -> float:
    """Return independent draws per CPU second of drawing."""
    return row["ess"] / row["drawing"] if row.get("drawing") else math.nan


def to_wanted(row: dict[str, Any]) -> float:
    """Return CPU seconds to a standard error of 1 %, by the error that the draws show."""
    if not row.get("drawing") or not row["llc"] > 0.0:
        return math.nan
    more = (own_error(row) / (_WANTED * row["llc"])) ** 2
    return row["seconds"] - row["drawing"] + row["drawing"] * more


def told(kind: str, truth: float | None, row: dict[str, Any]) -> str:
    """Return a line of the table."""
    if "failed" in row:
        return f"| {kind} | {row['package']} | failed: {row['failed']} | | | | | | | |"
    error = row.get("se")
    stated = "none" if error is None else f"{error:.2g}"
    off = "" if truth is None else f"{100 * (row['llc'] / truth - 1):+.1f} %"
    return (
        f"| {kind} | {row['package']} | {row['llc']:.4g} | {stated} | {own_error(row):.2g} | {off} | "
        f"{per_second(row):.3g} | {to_wanted(row):.3g} | {row['seconds']:.0f} | {row.get('status', '')} |"
    )


def ratios(kind: str, found: list[list[dict[str, Any]]]) -> Iterator[str]:
    """Yield a line per peer: how many times its ESS per second and how much of its time ours takes.

    Args:
        kind: Name of the target.
        found: Rows of every seed, ours first.
    """
    for index in range(1, len(found[0])):
        pairs = [
            (seed[0], seed[index])
            for seed in found
            if "failed" not in seed[0] and "failed" not in seed[index]
        ]
        columns = []
        for what in (per_second, lambda row: 1.0 / to_wanted(row)):
            values = sorted(what(ours) / what(theirs) for ours, theirs in pairs)
            values = [value for value in values if math.isfinite(value)]
            shown = f"{np.median(values):.3g} ({values[0]:.3g} to {values[-1]:.3g})" if values else "-"
            columns.append(shown)
        yield f"| {kind} | {found[0][index]['package']} | {' | '.join(columns)} | {len(pairs)} |"


@click.command()
@click.option(
    "--peer", type=click.Path(path_type=Path), help="Python with devinterp 1, posteriors, BlackJAX."
)
@click.option("--peer2", type=click.Path(path_type=Path), help="Python with devinterp 2.")
@click.option("--seconds", default=20.0, show_default=True, help="CPU seconds of a package per target.")
@click.option("--only", default="", help="Targets whose names contain this.")
@click.option("--seeds", default=1, show_default=True)
def main(peer: Path | None, peer2: Path | None, seconds: float, only: str, seeds: int) -> None:
    """Print two tables in Markdown: every run, and the ratios."""
    peers = {} if peer is None else {"blackjax": peer, "devinterp1": peer, "posteriors": peer}
    peers |= {} if peer2 is None else {"devinterp2": peer2}
    click.echo(
        "| target | package | LLC | stated error | of its draws | off the truth | ESS / s | s to 1 % | CPU s "
        "| status |"
    )
    click.echo("|---|---|---|---|---|---|---|---|---|---|")
    compared = []
    with tempfile.TemporaryDirectory() as name:
        for kind in (kind for kind in peer_models.SHAPES if only in kind):
            path = written(kind, Path(name))
            truth = exact(kind, path)
            if truth is not None:
                click.echo(f"| {kind} | exact | {truth:.4f} | | | | | | | |")
            found: list[list[dict[str, Any]]] = []
            for seed in range(1, seeds + 1):
                found.append([])
                for row in rows(path, peers, seconds, seed):
                    print(told(kind, truth, row), flush=True)
                    found[-1].append(row)
            compared += ratios(kind, found)
    click.echo("\n| target | beside | ESS per second, times | time to 1 %, times shorter | seeds |")
    click.echo("|---|---|---|---|---|")
    for line in compared:
        click.echo(line)


if __name__ == "__main__":
    main()
