"""Targets with known finite-n answers: E[t (L - L0)] at gamma = 1, not the asymptotic coefficient.

Sources: closed forms and quadrature (error below 1e-4); for deep linear networks `benchmarks.deep_linear`,
exact Gibbs sampling that shares no code with the samplers; for the tanh network a long run of our HMC.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from parsl_optuna.tasks.llc.problem.curvature import hessian
from parsl_optuna.tasks.llc.problem.target import load
from scipy.special import k0e, k1e


@dataclass(frozen=True)
class Known:
    """A problem and its answer.

    Attributes:
        name: For the table.
        model: Of the problem.
        truth: The answer, or what computes it from the problem and its prepared folder.
        uncertainty: Its standard error.
        n: Examples.
        seconds: Budget of an estimate.
        data: How the data are drawn.
    """

    name: str
    model: dict[str, Any]
    truth: float | Callable[[dict[str, Any], Path], float]
    uncertainty: float = 0.0
    n: int = 1000
    seconds: float = 10.0
    data: dict[str, Any] | None = None

    def raw(self) -> dict[str, Any]:
        """Return the problem as one writes it."""
        overrides = {"data": {"n_data": self.n, **(self.data or {})}}
        return {"model": self.model, "overrides": overrides}


def regular(curvature: Sequence[float], n: int = 1000) -> float:
    """Return 1/2 sum t h / (t h + 1)."""
    t = n / math.log(n)
    return 0.5 * sum(t * h / (t * h + 1.0) for h in curvature)


def product_of_squares(n: int) -> float:
    """Return E[t K] for K = w1^2 w2^2: 1/2 + z (1 - K1(z)/K0(z)), z = 1 / (8 t)."""
    z = math.log(n) / (8 * n)
    return float(0.5 + z * (1 - k1e(z) / k0e(z)))


def from_hessian(problem: dict[str, Any], folder: Path) -> float:
    """Return the answer of a linear model, whose loss is exactly quadratic."""
    target = load(problem, folder)
    return regular(torch.linalg.eigvalsh(hessian(target.loss, target.centre)).tolist())


def _quadratic(curvature: list[float]) -> dict[str, Any]:
    return {"kind": "quadratic", "dim": len(curvature), "curvature": curvature}


def _monomial(*exponents: int) -> dict[str, Any]:
    return {"kind": "monomial", "exponents": list(exponents)}


def _dln(widths: Sequence[int], rank: int) -> dict[str, Any]:
    return {"kind": "dln", "widths": list(widths), "rank": rank}


def _linear(dim: int) -> dict[str, Any]:
    return {"kind": "mlp", "in_dim": dim, "out_dim": 1, "depth": 0, "activation": "identity", "bias": False}


def _tanh(inputs: int, *widths: int) -> dict[str, Any]:
    size = {"in_dim": inputs, "out_dim": 1, "depth": len(widths), "widths": list(widths)}
    return {"kind": "mlp", "activation": "tanh", **size}


_SPREAD = [10.0 ** (-4 + 6 * i / 99) for i in range(100)]
_HALF_FLAT = [0.0] * 25 + [2.0] * 25

TARGETS = (
    Known("quadratic, d 10", _quadratic([2.0] * 10), regular([2.0] * 10)),
    Known("quadratic, d 100, condition 1e6", _quadratic(_SPREAD), regular(_SPREAD)),
    Known("quadratic, d 50, half flat", _quadratic(_HALF_FLAT), regular(_HALF_FLAT)),
    Known("regression, Gaussian", _linear(20), from_hessian),
    Known("regression, heavy tails", _linear(20), from_hessian, data={"x_dist": "heavy_tail"}),
    Known("regression, mixture", _linear(20), from_hessian, data={"x_dist": "mixture"}),
    Known("w^4", _monomial(4), 0.2431, 5e-5),
    Known("w^6", _monomial(6), 0.1569, 5e-5),
    Known("w1^2 w2^2", _monomial(2, 2), product_of_squares(1000)),
    Known("w1^2 w2^2, n 1e6", _monomial(2, 2), product_of_squares(10**6), n=10**6),
    Known("w1^2 w2^4", _monomial(2, 4), 0.2095, 5e-5),
    Known("w1^4 w2^4", _monomial(4, 4), 0.1504, 5e-5),
    Known("(w1 w2 w3)^2", _monomial(2, 2, 2), 0.2680, 5e-5),
    Known("dln 2-2-2 r0", _dln([2, 2, 2], 0), 1.4051, 5e-5),
    Known("dln 3-2-3 r0", _dln([3, 2, 3], 0), 2.3663, 5e-5),
    Known("dln 2-2-4 r0", _dln([2, 2, 4], 0), 1.9425, 5e-5),
    Known("dln 2-2-2-2 r0", _dln([2] * 4, 0), 1.1431, 0.0002),
    Known("dln 3-3-3 r1", _dln([3, 3, 3], 1), 3.8619, 0.0003),
    Known("dln 3-3-3-3 r1", _dln([3] * 4, 1), 3.5834, 0.0004),
    Known("dln 4-6-4 r2", _dln([4, 6, 4], 2), 7.8744, 0.0002),
    Known("dln 5-5-5-5 r2, n 1e4", _dln([5] * 4, 2), 10.6921, 0.0008, n=10_000),
    Known("dln 6-8-8-4 r2, n 1e4", _dln([6, 8, 8, 4], 2), 11.8625, 0.0002, n=10_000),
    Known("dln 10-10-10-10-10 r3, n 1e4", _dln([10] * 5, 3), 39.2868, 0.0029, n=10_000),
    Known("tanh network, d 41", _tanh(3, 8), 4.2481, 0.0111),
)

LARGE = (
    Known("dln 20-30-30-20 r5, n 1e4", _dln([20, 30, 30, 20], 5), 192.634, 0.005, n=10_000, seconds=5.0),
    Known("dln 50-(64)-50 r10, n 1e4", _dln([50, 64, 64, 64, 50], 10), 1095.3, 0.2, n=10_000, seconds=60.0),
)
"""2,100 and 14,592 parameters. Of the second the halves of 2,000 sweeps differ by 0.02 %, which the error
includes.
"""
