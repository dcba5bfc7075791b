"""Exact finite-n answers of deep linear networks: blocked Gibbs sampling with Rao-Blackwellised losses.

The target is exp(-U), U = t |W_L ... W_1 - T|^2 + gamma/2 sum_l |W_l - C|^2, with T and every C the matrix
diag(1_rank, 0) of the fitting size (problem kind ``dln``). Given the other layers, layer l is normal: with
A = W_L ... W_(l+1), B = W_(l-1) ... W_1, A'A = U_a diag(a) U_a' and BB' = U_b diag(b) U_b', coordinate (i, j)
of U_a' W_l U_b has

    precision p_ij = 2 t a_i b_j + gamma,   mean [U_a' (2 t A' T B' + gamma C) U_b]_ij / p_ij.

So a layer is drawn exactly, without a step size or a rejection (Geman & Geman 1984), and the conditional mean
of the loss is known: E[t K | other layers] = t |A M B - T|^2 + t sum_ij a_i b_j / p_ij, M the conditional
mean of W_l (Rao-Blackwellisation; Gelfand & Smith 1990). The LLC is its average over sweeps and layers.

``deep_linear`` prints a line per network of the truth table. It shares no code with the package but R-hat.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from numpy.typing import NDArray
from parsl_optuna.kernels.diagnostics import rhat
from scipy.integrate import quad

Array = NDArray[np.float64]

NETWORKS: tuple[tuple[tuple[int, ...], int, int, int, int], ...] = (
    # widths, rank, n, chains, sweeps: errors of about 0.05 %, or what some minutes of a core give
    ((2, 2, 2), 0, 1000, 512, 4000),
    ((3, 2, 3), 0, 1000, 512, 4000),
    ((2, 2, 4), 0, 1000, 512, 4000),
    ((2, 2, 2, 2), 0, 1000, 512, 4000),
    ((3, 3, 3), 1, 1000, 512, 4000),
    ((3, 3, 3, 3), 1, 1000, 512, 4000),
    ((4, 6, 4), 2, 1000, 256, 3000),
    ((5, 5, 5, 5), 2, 10_000, 256, 6000),
    ((6, 8, 8, 4), 2, 10_000, 256, 4000),
    ((10, 10, 10, 10, 10), 3, 10_000, 128, 4000),
    ((20, 30, 30, 20), 5, 10_000, 32, 3000),
    ((50, 64, 64, 64, 50), 10, 10_000, 8, 2000),
)


class Answer(NamedTuple):
    """An LLC from Gibbs sampling.

    Attributes:
        value: E[t K] at this n and gamma.
        se: Its standard error, from the spread of the chains' means.
        halves: Difference of the two halves of the sweeps, in standard errors.
        starts: Difference of the chains that began at w* and those from the prior, in standard errors.
        rhat: Of the Rao-Blackwellised loss.
    """

    value: float
    se: float
    halves: float
    starts: float
    rhat: float


def answer(
    widths: Sequence[int],
    rank: int,
    t: float,
    gamma: float = 1.0,
    chains: int = 128,
    sweeps: int = 2000,
    seed: int = 0,
) -> Answer:
    """Return E[t K] of a deep linear network.

    Half of the chains begin at w*, half at draws of the prior; the first quarter of the sweeps is burn-in.

    Args:
        widths: Sizes of all layers, input and output included.
        rank: Rank of T.
        t: n beta.
        gamma: Precision of the localization prior.
        chains: Independent chains, moved as one batch; even.
        sweeps: Updates of every layer.
        seed: Of the generator.
    """
    draws = losses(widths, rank, t, gamma, chains, sweeps, seed)[sweeps // 4 :]
    means = draws.mean(0)
    first, second = draws[: len(draws) // 2].mean(0), draws[len(draws) // 2 :].mean(0)
    at_centre, spread = means[: chains // 2], means[chains // 2 :]
    apart = math.sqrt(at_centre.var(ddof=1) / len(at_centre) + spread.var(ddof=1) / len(spread))
    return Answer(
        float(means.mean()),
        _error(means),
        float((second - first).mean()) / _error(second - first),
        float(spread.mean() - at_centre.mean()) / apart,
        rhat(torch.from_numpy(draws)),
    )


def losses(
    widths: Sequence[int], rank: int, t: float, gamma: float, chains: int, sweeps: int, seed: int
) -> Array:
    """Return the Rao-Blackwellised t K, averaged over layers, ``(sweeps, chains)``."""
    generator = np.random.default_rng(seed)
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    centres = [np.eye(rows, columns) * (np.arange(rows) < rank)[:, None] for rows, columns in shapes]
    target = np.eye(widths[-1], widths[0]) * (np.arange(widths[-1]) < rank)[:, None]
    wide = (np.arange(chains) >= chains // 2)[:, None, None] / math.sqrt(gamma)
    layers = [centre + wide * generator.standard_normal((chains, *centre.shape)) for centre in centres]
    found = np.empty((sweeps, chains))
    for sweep in range(sweeps):
        above = [np.broadcast_to(np.eye(widths[-1]), (chains, widths[-1], widths[-1]))]
        for layer in layers[:0:-1]:
            above.append(above[-1] @ layer)
        below = np.broadcast_to(np.eye(widths[0]), (chains, widths[0], widths[0]))
        total = np.zeros(chains)
        for index, centre in enumerate(centres):
            layers[index], loss = _drawn(above.pop(), below, target, centre, t, gamma, generator)
            below = layers[index] @ below
            total += loss
        found[sweep] = total / len(layers)
    return found


def _drawn(
    above: Array, below: Array, target: Array, centre: Array, t: float, gamma: float, generator: Any
) -> tuple[Array, Array]:
    """Draw one layer of every chain given the others; also return its conditional mean of t K
    ``(chains,)``.
    """
    a, left = np.linalg.eigh(above.mT @ above)
    b, right = np.linalg.eigh(below @ below.mT)
    strength = t * np.maximum(a, 0.0)[:, :, None] * np.maximum(b, 0.0)[:, None, :]
    precision = 2.0 * strength + gamma
    linear = 2.0 * t * above.mT @ target @ below.mT + gamma * centre
    mean = (left.mT @ linear @ right) / precision
    error = above @ (left @ mean @ right.mT) @ below - target
    loss = t * np.square(error).sum((1, 2)) + (strength / precision).sum((1, 2))
    noise = generator.standard_normal(mean.shape) / np.sqrt(precision)
    return left @ (mean + noise) @ right.mT, loss


def _error(values: Array) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def two_eigenvalues(inputs: int, outputs: int, t: float) -> float:
    """Return E[t K] of the network inputs-2-outputs at rank 0 and gamma 1, by quadrature.

    Given the second layer V the first is normal, which leaves det(I + 2 t V'V)^(-inputs/2), and V'V is
    Wishart with *outputs* degrees of freedom: eigenvalues x > y of density (x y)^((outputs-3)/2) (x - y)
    exp(-(x + y)/2).
    """
    grid = np.linspace(-34.0, 4.6, 6001)  # of log x: beyond, the density is below 1e-12 of its largest
    values = np.exp(grid)
    held = 2.0 * t * values / (1.0 + 2.0 * t * values)
    single = (
        values ** (0.5 * (outputs - 1)) * np.exp(-0.5 * values) * (1.0 + 2.0 * t * values) ** (-0.5 * inputs)
    )
    weight = np.abs(values[:, None] - values[None, :]) * single[:, None] * single[None, :]
    mean = 0.5 * inputs * (held[:, None] + held[None, :])
    return float((weight * mean).sum() / weight.sum())


def two_scalars(rank: int, t: float, gamma: float = 1.0) -> float:
    """Return E[t K] of the network 1-1-1, K = (v u - rank)^2 centred at u = v = rank, by quadrature.

    Given u the conditional law of v is normal, of precision p = 2 t u^2 + gamma.
    """

    def integrand(u: float, power: int) -> float:
        precision = 2.0 * t * u * u + gamma
        miss = rank * (u - 1.0)  # of the prior's centre: v u - rank at v = rank
        shrunk = miss * gamma / precision  # of the conditional mean of v
        loss = t * shrunk * shrunk + t * u * u / precision
        weight = math.exp(-0.5 * gamma * (u - rank) ** 2 - t * miss * shrunk) / math.sqrt(precision)
        return weight * loss**power

    narrow = [rank + side * width for side in (-1.0, 1.0) for width in (1e-3, 1e-2, 0.1, 1.0)]
    pieces = sorted({-12.0, 12.0, 0.0, float(rank), *narrow})
    top, bottom = (
        sum(quad(integrand, low, high, (power,), epsabs=1e-13)[0] for low, high in itertools.pairwise(pieces))
        for power in (1, 0)
    )
    return top / bottom


@click.command()
@click.option("--only", default="", help="Networks whose name contains this.")
@click.option("--seed", default=0, show_default=True)
def main(only: str, seed: int) -> None:
    """Print the answer of every network with its error and its checks."""
    for widths, rank, n, chains, sweeps in NETWORKS:
        name = f"{'-'.join(map(str, widths))} r{rank}, n {n}"
        if only not in name:
            continue
        begun = time.perf_counter()
        found = answer(widths, rank, n / math.log(n), chains=chains, sweeps=sweeps, seed=seed)
        took = time.perf_counter() - begun
        click.echo(
            f"{name:32} {found.value:10.4f} ± {found.se:.4f}  halves {found.halves:+.1f}  "
            f"starts {found.starts:+.1f}  R-hat {found.rhat:.4f}  {took:6.1f} s"
        )


if __name__ == "__main__":
    main()
