"""The dimension of a set of designs, read from the distances to their nearest neighbours. Pure.

Sources: Facco et al. 2017, Sci. Rep. 7 (two neighbours); Denti et al. 2022, Sci. Rep. 12 (ratios of later
ones).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NEAR, _WIDE = 2, 8
"""Neighbours of these ranks are compared with those of twice the rank. The nearer ones give the answer; the
others, which see the same set from further off, have to agree.
"""

_AGREE = 1.35
"""Between the two, more than this factor is not seen on smooth sets sampled at random, and mostly is on
grids.
"""

_MOST = 2000
"""Designs that are looked at, all or as many at random: all distances between them take 32 MB."""

_LATTICE, _EQUAL = 0.2, 1e-2
"""A larger share of first and second neighbours at the same distance, to this fraction, is no accident (it
is 1 % per dimension): the designs lie on a grid of parameters, and ratios of distances say nothing.
"""


def intrinsic_dim(designs: NDArray[np.floating]) -> int | None:
    """Return the dimension, at least one; None where neighbours do not tell it.

    Within a set of dimension d the ratio of the distances to neighbours k and 2k has the mean logarithm
    ``(psi(2k) - psi(k)) / d``, psi being the digamma function, however densely the set is sampled. The set
    must be smooth at these distances, without noise, and sampled at random.

    Args:
        designs: ``(n, length)``; equal ones count once. Of more than 2,000 a random subset of this size is
            read, always the same one: the first of a sorted set may all have nearly one value of a parameter.
    """
    x = np.asarray(_some(designs), dtype=np.float64)
    x = np.unique(x - x.mean(axis=0), axis=0)
    if len(x) <= 4 * _WIDE:
        return None
    squares = np.square(x).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * x @ x.T, 0.0)
    np.fill_diagonal(distances, np.inf)
    nearest = np.sqrt(np.sort(np.partition(distances, 2 * _WIDE, axis=1)[:, : 2 * _WIDE], axis=1))
    nearest = nearest[nearest[:, 0] > 1e-6 * np.sqrt(squares.mean())]  # below that, distances are rounding
    if len(nearest) <= 4 * _WIDE:
        return None
    if float(np.mean(nearest[:, 1] < nearest[:, 0] * (1 + _EQUAL))) > _LATTICE:
        return None
    near, wide = _estimate(nearest, _NEAR), _estimate(nearest, _WIDE)
    return max(round(near), 1) if max(near, wide) <= _AGREE * min(near, wide) else None


def _some(designs: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return all designs, or `_MOST` of them, drawn without replacement by a generator of fixed seed."""
    if len(designs) <= _MOST:
        return designs
    return designs[np.random.default_rng(0).permutation(len(designs))[:_MOST]]


def _estimate(nearest: NDArray[np.float64], k: int) -> float:
    logs = np.log(nearest[:, 2 * k - 1] / nearest[:, k - 1]).mean()
    return sum(1.0 / j for j in range(k, 2 * k)) / max(float(logs), 1e-12)  # psi(2k) - psi(k)
