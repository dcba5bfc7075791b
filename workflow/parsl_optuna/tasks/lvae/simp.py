"""Small topology optimisers: the MBB beam, and a heat sink. Bilinear elements, SIMP, optimality criteria.

Sources: Sigmund 2001, Struct. Multidisc. Optim. 21; Andreassen et al. 2011, 43 (the 88-line programs).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csc_matrix
from scipy.sparse.linalg import splu

Array = NDArray[np.float64]

_PENALTY, _LEAST, _NU = 3.0, 1e-9, 0.3
"""Exponent of the density, stiffness of void, Poisson's ratio: Andreassen and others (2011), the 88-line
code.
"""

_LEAST_CONDUCTIVITY = 1e-3
"""Of void, which conducts a little: with 1e-9 a sink that is cut off would be infinitely hot."""

_MOVE, _ROUNDS, _CHANGE = 0.2, 60, 0.02
"""Largest change of a density per round (same source), most rounds, and the change that ends them: coarser
than for engineering, as hundreds of designs are made.
"""


def beams(p: Array, side: int) -> Array:
    """Return half MBB beams ``(n, side, side)``.

    Args:
        p: ``(n, 3)`` in [0, 1]: volume fraction 0.15-0.4, filter radius 1.5-4 (of 50 rows), place of
            the load along the top.
        side: Elements per side; designs are stretched to a square.
    """
    return np.stack([_beam(0.15 + 0.25 * v, (1.5 + 2.5 * r) * side / 50, f, side) for v, r, f in p])


def heat_sinks(p: Array, side: int) -> Array:
    """Return conductors ``(n, side, side)`` that cool a heated square.

    Args:
        p: ``(n, 2)`` in [0, 1]: volume fraction 0.3-0.6, length of the adiabatic part of the bottom.
        side: Elements per side.
    """
    return np.stack([_heat_sink(0.3 + 0.3 * v, length, side) for v, length in p])


def _beam(fraction: float, radius: float, place: float, side: int) -> Array:
    freedoms = 2 * (side + 1) ** 2
    force = np.zeros(freedoms)
    force[2 * round(place * side) * (side + 1) + 1] = -1.0
    fixed = np.union1d(np.arange(0, 2 * (side + 1), 2), [freedoms - 1])
    return _optimise(_Elements(side, 2, _elastic()), force, fixed, fraction, radius, _LEAST)


def _heat_sink(fraction: float, length: float, side: int) -> Array:
    nodes = (side + 1) ** 2
    number = np.arange(nodes).reshape(side + 1, side + 1)  # [column, row], rows from the top
    along = np.abs(np.arange(side + 1) / side - 0.5)
    cold = np.concatenate([number[0], number[-1], number[:, 0], number[along > length / 2, -1]])
    source = np.full(nodes, 1e-2 / nodes)
    elements = _Elements(side, 1, _thermal())
    radius = 1.5 * side / 32
    return _optimise(elements, source, np.unique(cold), fraction, radius, _LEAST_CONDUCTIVITY, mirror=True)


def _elastic() -> Array:
    """Return the stiffness (8, 8) of a square element in plane stress."""
    k = np.array([1 / 2 - _NU / 6, 1 / 8 + _NU / 8, -1 / 4 - _NU / 12, -1 / 8 + 3 * _NU / 8,
                  -1 / 4 + _NU / 12, -1 / 8 - _NU / 8, _NU / 6, 1 / 8 - 3 * _NU / 8])  # fmt: skip
    order = [
        [0, 1, 2, 3, 4, 5, 6, 7], [1, 0, 7, 6, 5, 4, 3, 2], [2, 7, 0, 5, 6, 3, 4, 1],
        [3, 6, 5, 0, 7, 2, 1, 4], [4, 5, 6, 7, 0, 1, 2, 3], [5, 4, 3, 2, 1, 0, 7, 6],
        [6, 3, 4, 1, 2, 7, 0, 5], [7, 2, 1, 4, 3, 6, 5, 0],
    ]  # fmt: skip
    return k[np.array(order)] / (1 - _NU**2)


def _thermal() -> Array:
    """Return the conductance (4, 4) of a square element."""
    return np.array([[4, -1, -2, -1], [-1, 4, -1, -2], [-2, -1, 4, -1], [-1, -2, -1, 4]]) / 6.0


class _Elements:
    """A square mesh with *per_node* unknowns; elements column by column, rows from the top."""

    def __init__(self, side: int, per_node: int, matrix: Array) -> None:
        self.side, self.matrix = side, matrix
        corner = (np.arange(side)[:, None] * (side + 1) + np.arange(side)).ravel()
        nodes = np.stack([corner + 1, corner + side + 2, corner + side + 1, corner], axis=1)
        self.unknowns = (per_node * nodes[:, :, None] + np.arange(per_node)).reshape(len(corner), -1)
        self._rows = np.repeat(self.unknowns, matrix.shape[0], axis=1).ravel()
        self._columns = np.tile(self.unknowns, matrix.shape[0]).ravel()

    def solve(self, stiffness: Array, force: Array, fixed: NDArray[np.int64]) -> Array:
        """Return the unknowns under *force*, those in *fixed* at zero."""
        values = (stiffness[:, None] * self.matrix.ravel()).ravel()
        whole = coo_matrix((values, (self._rows, self._columns)), shape=(len(force), len(force)))
        free = np.setdiff1d(np.arange(len(force)), fixed)
        found = np.zeros(len(force))
        found[free] = splu(csc_matrix(whole)[free][:, free]).solve(force[free])
        return found

    def energies(self, solution: Array) -> Array:
        """Return u^T K u per element of unit stiffness."""
        local = solution[self.unknowns]
        return np.einsum("ei,ij,ej->e", local, self.matrix, local)


def _optimise(
    elements: _Elements,
    force: Array,
    fixed: NDArray[np.int64],
    fraction: float,
    radius: float,
    least: float,
    *,
    mirror: bool = False,
) -> Array:
    """Minimise the compliance at a volume fraction; return the filtered densities ``(side, side)``.

    With *mirror* the slopes are averaged over left and right, as the problem has them: rounding errors
    would else grow into lopsided branches.
    """
    side = elements.side
    blur, back = _cone(side, max(radius, 1.0))
    x = np.full(side * side, fraction)
    for _ in range(_ROUNDS):
        density = blur(x)
        stiffness = least + density**_PENALTY * (1 - least)
        solution = elements.solve(stiffness, force, fixed)
        slope = -_PENALTY * density ** (_PENALTY - 1) * (1 - least) * elements.energies(solution)
        if mirror:
            slope = 0.5 * (slope + slope.reshape(side, side)[::-1].ravel())
        after = _criteria(x, back(slope), back(np.ones_like(x)), fraction, blur)
        change, x = float(np.abs(after - x).max()), after
        if change < _CHANGE:
            break
    return blur(x).reshape(side, side).T


def _criteria(x: Array, slope: Array, price: Array, fraction: float, blur: Callable[[Array], Array]) -> Array:
    """Return the optimality-criteria update, the multiplier found by bisection."""
    low, high = 1e-12, 1e12
    after = x
    while (high - low) / (low + high) > 1e-3:
        middle = np.sqrt(low * high) if high / low > 4 else 0.5 * (low + high)
        wanted = x * np.sqrt(np.maximum(-slope, 0) / price / middle)
        after = np.clip(wanted, np.maximum(x - _MOVE, 0), np.minimum(x + _MOVE, 1))
        if blur(after).mean() > fraction:
            low = middle
        else:
            high = middle
    return after


def _cone(side: int, radius: float) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Return the density filter, weights falling linearly to zero at *radius*, and its transpose."""
    reach = int(np.ceil(radius)) - 1
    column, row = (axis.ravel() for axis in np.meshgrid(np.arange(side), np.arange(side), indexing="ij"))
    rows, columns, weights = [], [], []
    for dc in range(-reach, reach + 1):
        for dr in range(-reach, reach + 1):
            weight = radius - np.hypot(dc, dr)
            inside = (column + dc >= 0) & (column + dc < side) & (row + dr >= 0) & (row + dr < side)
            if weight > 0:
                here = np.flatnonzero(inside)
                rows.append(here)
                columns.append(here + dc * side + dr)
                weights.append(np.full(len(here), weight))
    parts = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    matrix = coo_matrix(parts, shape=(side**2, side**2)).tocsr()
    total = np.asarray(matrix.sum(axis=1)).ravel()
    return lambda values: matrix @ values / total, lambda values: matrix.T @ (values / total)
