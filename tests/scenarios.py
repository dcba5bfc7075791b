"""Targets with known answers, and how to run a method on them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import Preempted
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.base import Metrics, Work, prepare_task, run_task
from parsl_optuna.tasks.llc import TASK
from parsl_optuna.tasks.llc.problem.curvature import hessian
from parsl_optuna.tasks.llc.problem.estimand import Estimand
from parsl_optuna.tasks.llc.problem.target import load
from scipy.integrate import quad
from scipy.special import k0e, k1e
from torch import nn


def n_beta(n: int) -> float:
    """Return t = n / ln n."""
    return n / math.log(n)


def quadratic(curvature: list[float], t: float, gamma: float = 1.0, offset: float = 0.0) -> float:
    """Return E[t (L - L0)] for L = 1/2 sum h (w - offset)^2 and a localiser centred at 0.

    Per coordinate the posterior is normal with precision a = t h + g and mean t h offset / a.
    """
    total = 0.0
    for h in curvature:
        a = t * h + gamma
        shift = t * h * offset / a - offset
        total += 0.5 * t * h * (1 / a + shift**2 - offset**2)
    return total


def w1w2_squared(t: float, gamma: float = 1.0) -> float:
    """Return E[t K] for K = w1^2 w2^2: 1/2 + z (1 - K1(z)/K0(z)), z = g^2 / (8 t)."""
    z = gamma**2 / (8 * t)
    return 0.5 + z * (1 - k1e(z) / k0e(z))


def mean_field_w1w2(t: float, gamma: float = 1.0) -> float:
    """Return what the best single diagonal Gaussian gives for K = w1^2 w2^2."""
    s = (-gamma / 2 + math.sqrt(gamma**2 / 4 + 2 * t)) / (2 * t)
    return t * s**2


def power(exponent: int, t: float, gamma: float = 1.0) -> float:
    """Return E[t K] for K = w^exponent in one dimension, by quadrature."""

    def weight(w: float) -> float:
        return math.exp(-t * w**exponent - gamma / 2 * w * w)

    top = quad(lambda w: t * w**exponent * weight(w), 0, 10, epsabs=1e-12, points=[0.1, 1.0])[0]
    return top / quad(weight, 0, 10, epsabs=1e-12, points=[0.1, 1.0])[0]


DLN = {
    # (widths, rank): value at n = 1000, gamma = 1, and its error. The first is exact quadrature, the others
    # are of `benchmarks.deep_linear`, exact Gibbs sampling.
    ((2, 2, 2), 0): (1.4051, 0.0001),
    ((3, 3, 3), 1): (3.8619, 0.0003),
    ((4, 6, 4), 2): (7.8744, 0.0002),
    ((3, 3, 3, 3), 1): (3.5834, 0.0004),
}


class Bench:
    """A prepared problem on which methods run."""

    def __init__(self, raw: dict[str, Any], folder: Path) -> None:
        self.problem = TASK.resolve(raw, "test $")
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        prepare_task(TASK, self.problem, folder)

    def run(self, method: str, seed: int = 1, budget_sec: float = 120.0, **params: Any) -> Metrics:
        """Run a method with its preset and *params* over it."""
        complete = TASK.complete({}, method, params, "test")
        work = Work(self.problem, method, complete, seed, Deadline(budget_sec), self.folder)
        return run_task(TASK, work)


def noisy_regression(folder: Path) -> Estimand:
    """Return a linear regression, whose posterior is normal and whose 1,000 examples disagree."""
    linear = {"kind": "mlp", "in_dim": 6, "out_dim": 1, "depth": 0, "widths": [], "activation": "identity"}
    bench = Bench({"model": linear, "overrides": {"data": {"n_data": 1000, "noise_scale": 0.05}}}, folder)
    return Estimand(load(bench.problem, bench.folder))


def regression(estimand: Estimand) -> float:
    """Return the LLC of a linear regression, 1/2 tr[t H (t H + gamma)^-1]."""
    eigenvalues = estimand.t * torch.linalg.eigvalsh(hessian(estimand.target.loss, estimand.centre))
    return 0.5 * float((eigenvalues / (eigenvalues + estimand.gamma)).sum())


def first_fast(values):
    """Parameters of a test of which the first one runs always, and the others with the slow tests."""
    first, *others = values
    marked = [one if isinstance(one, tuple) else (one,) for one in others]
    return [first, *(pytest.param(*one, marks=pytest.mark.slow) for one in marked)]


class EveryNth(Checkpoint):
    """Wants to save, and the node back, at every n-th question."""

    def __init__(self, folder: Path, n: int) -> None:
        super().__init__(folder)
        self._n, self._asked = n, 0

    def due(self) -> bool:
        self._asked += 1
        return self._asked % self._n == 0

    def save(self, content: bytes) -> None:
        super().save(content)
        raise Preempted


class Place(nn.Module):
    """Its weights are its outputs."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(dim, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w.expand(len(x), -1)
