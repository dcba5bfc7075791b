"""Designs of another size: a pixel is the mean over its area, so that a thin bar keeps its mass. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def resized(designs: Array, rows: int, columns: int) -> Array:
    """Return designs ``(n, any, any)`` as ``(n, rows, columns)``."""
    if designs.shape[1:] == (rows, columns):
        return designs
    down, across = (_averaging(*sizes) for sizes in zip(designs.shape[1:], (rows, columns), strict=True))
    return np.einsum("ar,nrc,bc->nab", down, designs, across, optimize=True)


def _averaging(before: int, after: int) -> Array:
    """Return the matrix ``(after, before)`` that averages *before* equal cells over *after* equal ones."""
    edges = np.arange(after + 1) * before / after
    cells = np.arange(before)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return np.clip(overlap, 0.0, None) * after / before
