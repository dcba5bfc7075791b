"""Exact finite-n answers of reduced rank regression on any data, by Gibbs sampling.

The target is exp(-U), U = t L + gamma/2 (|A - A0|^2 + |B - B0|^2), L the mean of the squares of y - B A x
over examples and outputs. Given A the rows of B are independent and normal; given B all of A is normal. Both
are drawn exactly, without a step size (Geman & Geman 1984). The answer depends on A0 and B0, where the prior
is centred.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def answer(
    x: Array, y: Array, first: Array, second: Array, t: float, chains: int = 128, sweeps: int = 900
) -> tuple[float, float]:
    """Return E[t (L - L0)] at gamma 1 and its standard error, from the spread of the chains' means.

    Half of the chains begin at the centre, half at draws of the prior; a sixth of the sweeps is burn-in.

    Args:
        x: Inputs ``(n, inputs)``.
        y: Targets ``(n, outputs)``.
        first: A0, ``(rank, inputs)``.
        second: B0, ``(outputs, rank)``.
        t: Factor on the loss.
        chains: Independent chains; even.
        sweeps: Draws of both layers.
    """
    generator = np.random.default_rng(0)
    squares, products, strength = x.T @ x / len(x), y.T @ x / len(x), 2.0 * t / y.shape[1]
    wide = (np.arange(chains) >= chains // 2)[:, None, None]
    a, b = (centre + wide * generator.standard_normal((chains, *centre.shape)) for centre in (first, second))

    def excess(a: Array, b: Array) -> Array:  # but for a constant
        mapped = b @ a
        return 0.5 * strength * ((mapped @ squares - 2.0 * products) * mapped).sum((1, 2))

    found = []
    rank, inputs = first.shape
    for _ in range(sweeps):
        precision = strength * a @ squares @ a.mT + np.eye(rank)
        linear = strength * products @ a.mT + second
        b = _drawn(precision, linear.mT, generator).mT
        inner = strength * b.mT @ b
        precision = np.einsum("cij,kl->cikjl", inner, squares).reshape(chains, rank * inputs, -1)
        linear = (strength * b.mT @ products + first).reshape(chains, -1, 1)
        a = _drawn(precision + np.eye(rank * inputs), linear, generator).reshape(a.shape)
        found.append(excess(a, b))
    means = np.array(found)[sweeps // 6 :].mean(0) - float(excess(first[None], second[None])[0])
    return float(means.mean()), float(means.std(ddof=1)) / math.sqrt(chains)


def _drawn(precision: Array, linear: Array, generator: Any) -> Array:
    """Draw columns from normal laws of these precisions ``(chains, d, d)`` and precision times mean."""
    root = np.linalg.cholesky(precision)
    noise = generator.standard_normal(linear.shape)
    return np.linalg.solve(precision, linear) + np.linalg.solve(root.mT, noise)
