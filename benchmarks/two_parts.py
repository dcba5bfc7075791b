"""Posteriors of two parts, between which hardly a chain moves, with known answers: what the kernels say.

Run: OMP_NUM_THREADS=1 python -m benchmarks.two_parts [--kernels langevin,hmc] [--seconds 8]. The wells are
two normals; the truth is the mean over 2,000,000 numbers drawn from both. The hole is in a plateau; the truth
is a quadrature over the distance from w*. A result is a silent failure as in `benchmarks.truth`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click
import parsl_optuna
import torch
from parsl_optuna.tasks.llc.samplers import automatic
from torch import Tensor, nn

_N = 1000
_T = _N / math.log(_N)


@dataclass(frozen=True)
class Case:
    """A posterior at gamma = 1: t L of positions ``(n, dim)``, and means of the whole and of its parts."""

    name: str
    dim: int
    energy: Callable[[Tensor], Tensor]
    truth: float
    near: float
    far: float


class Place(nn.Module):
    """Its weights are its outputs."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(dim, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.w.expand(len(x), -1)


def wells(dim: int, near: float, far: float, distance: float, share: float) -> Case:
    """Return a well of curvature *near* at w*, and one of curvature *far* with a *share* of the posterior."""
    stiff, soft = _T * near + 1.0, _T * far + 1.0
    place = torch.tensor([distance] + [0.0] * (dim - 1), dtype=torch.float64)
    pulled = (soft - 1.0) / soft  # towards w*, by the prior
    height = math.log(share / (1.0 - share)) + 0.5 * dim * math.log(soft / stiff) + 0.5 * pulled * distance**2

    def energy(w: Tensor) -> Tensor:
        inner = -0.5 * (stiff - 1.0) * w.square().sum(-1)
        return -torch.logaddexp(inner, height - 0.5 * (soft - 1.0) * (w - place).square().sum(-1))

    stream = torch.Generator().manual_seed(1)
    count = 2_000_000 // dim
    normal = torch.randn(count, dim, generator=stream, dtype=torch.float64)
    is_far = torch.rand(count, generator=stream) < share
    w = torch.where(is_far.unsqueeze(1), pulled * place + normal / math.sqrt(soft), normal / math.sqrt(stiff))
    excess = energy(w) - energy(torch.zeros(1, dim, dtype=torch.float64))
    means = (float(part.mean()) for part in (excess, excess[~is_far], excess[is_far]))
    return Case(f"wells, d {dim}, {near:g} and {far:g}, {share:.0%} far", dim, energy, *means)


def hole(dim: int, width: float) -> Case:
    """Return a plateau of t L = 0.2 t with a hole of that width at w*."""

    def of_distance(square: Tensor) -> Tensor:
        return 0.2 * _T * (1.0 - torch.exp(-square / (2.0 * width**2)))

    r = torch.linspace(1e-6, math.sqrt(dim) + 8.0, 2_000_001, dtype=torch.float64)
    value = of_distance(r.square())
    logs = (dim - 1) * r.log() - value - 0.5 * r.square()
    weight, inside = (logs - logs.max()).exp(), r < 3.0 * width
    means = (
        float((weight * value)[part].sum() / weight[part].sum())
        for part in (torch.ones_like(inside), inside, ~inside)
    )
    return Case(f"hole, d {dim}, width {width:g}", dim, lambda w: of_distance(w.square().sum(-1)), *means)


def cases() -> Iterator[Case]:
    """Yield them, from parts between which chains move to parts between which they do not."""
    yield wells(2, 200.0, 1.0, 2.0, 0.5)
    yield wells(5, 100.0, 0.5, 2.0, 0.5)
    for share in (0.5, 0.9):
        yield wells(10, 50.0, 0.5, 2.0, share)
    yield wells(10, 20.0, 2.0, 3.0, 0.3)
    yield wells(50, 20.0, 1.0, 2.0, 0.5)
    for dim, width in ((3, 0.1), (5, 0.1), (10, 0.2), (10, 0.25)):
        yield hole(dim, width)


@click.command()
@click.option("--kernels", default=",".join(automatic()), show_default=True)
@click.option("--seconds", default=8.0, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(kernels: str, seconds: float, seed: int) -> None:
    """Print a line per result."""
    torch.set_num_threads(1)
    noise = torch.randn(_N, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for case in cases():
        click.echo(f"{case.name}: {case.truth:.3f} (near w* {case.near:.3f}, elsewhere {case.far:.3f})")
        for kernel in kernels.split(","):
            settings: dict[str, Any] = {"kernel": kernel, "budget_sec": seconds, "seed": seed}
            found = parsl_optuna.estimate_llc(
                Place(case.dim),
                lambda outputs, y, case=case: (case.energy(outputs) / _T + 0.01 * y[:, 0]).mean(),
                (noise, noise),
                relative_error=0.01,
                **settings,
            )
            is_far = not abs(found.llc - case.truth) <= 3.0 * found.se + 0.03 * case.truth
            mark = "SILENT" if is_far and found.status == "ok" else "      "
            click.echo(f"  {kernel:9} {mark} {str(found).splitlines()[0]}")


if __name__ == "__main__":
    main()
