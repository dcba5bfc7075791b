"""Small topology optimisers: the MBB beam, and a heat sink. Bilinear elements, SIMP, optimality criteria.

Sources: Sigmund 2001, Struct. Multidisc. Optim. 21; Andreassen et al. 2011, 43 (the 88-line programs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve_banded, cholesky_banded
from scipy.sparse import coo_matrix, csr_matrix, diags

from parsl_optuna.tasks.lvae.areas import resized

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

_BEAM_ROWS = 50
"""Of the half beam as EngiBench publishes it: 50 x 100."""

_COARSE_ROWS, _SHARPENING, _LEAST_RADIUS = 50, 10, 1.2
"""Meshes with more rows begin from one with half as many, and so many rounds on theirs; unless its filter
would have a smaller radius, without which checkerboards come.
"""


def beams(p: Array, side: int) -> Array:
    """Return half MBB beams ``(n, side, side)``, twice as long as high, squeezed into squares by averaging.

    Args:
        p: ``(n, 3)`` in [0, 1]: volume fraction 0.15-0.4, filter radius 1.5-4 (of 50 rows), place of
            the load along the top.
        side: Pixels per side; the mesh has as many rows, at most 50, and twice as many columns.
    """
    rows = min(side, _BEAM_ROWS)
    found = [beam(0.15 + 0.25 * v, (1.5 + 2.5 * r) * rows / 50, f, rows, 2 * rows) for v, r, f in p]
    return resized(np.stack(found), side, side)


def heat_sinks(p: Array, side: int) -> Array:
    """Return conductors ``(n, side, side)`` that cool a heated square.

    Args:
        p: ``(n, 2)`` in [0, 1]: volume fraction 0.3-0.6, length of the adiabatic part of the bottom.
        side: Elements per side.
    """
    return np.stack([_heat_sink(0.3 + 0.3 * v, length, side) for v, length in p])


def beam(fraction: float, radius: float, place: float, rows: int, columns: int) -> Array:
    """Return the densities ``(rows, columns)`` of one half beam.

    Args:
        fraction: Of the volume.
        radius: Of the filter, in elements.
        place: Of the load along the top, 0 at the plane of symmetry, 1 at the support.
        rows: Elements from top to bottom.
        columns: Elements along the beam.
    """

    def loaded(rows: int, columns: int) -> _Loaded:
        freedoms = 2 * (rows + 1) * (columns + 1)
        force = np.zeros(freedoms)
        force[2 * round(place * columns) * (rows + 1) + 1] = -1.0
        fixed = np.union1d(np.arange(0, 2 * (rows + 1), 2), [freedoms - 1])
        return _Loaded(_Elements(rows, columns, 2, _elastic(), fixed), force)

    return _optimise(loaded, rows, columns, fraction, radius, _LEAST)


def _heat_sink(fraction: float, length: float, side: int) -> Array:
    def heated(rows: int, columns: int) -> _Loaded:
        nodes = (rows + 1) * (columns + 1)
        number = np.arange(nodes).reshape(columns + 1, rows + 1)  # rows from the top
        along = np.abs(np.arange(columns + 1) / columns - 0.5)
        cold = np.concatenate([number[0], number[-1], number[:, 0], number[along > length / 2, -1]])
        elements = _Elements(rows, columns, 1, _thermal(), np.unique(cold))
        return _Loaded(elements, np.full(nodes, 1e-2 / nodes))

    radius = 1.5 * side / 32
    return _optimise(heated, side, side, fraction, radius, _LEAST_CONDUCTIVITY, mirror=True)


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
    """A mesh with *per_node* unknowns, those in *fixed* at zero; elements by column, rows from the top.

    The matrix is kept by its diagonals: numbered along the shorter side, they lie close together, and
    LAPACK's Cholesky factor of a band takes half the time of a general sparse one here.
    """

    def __init__(
        self, rows: int, columns: int, per_node: int, matrix: Array, fixed: NDArray[np.int64]
    ) -> None:
        self.matrix, self._fixed = matrix, fixed
        corner = (np.arange(columns)[:, None] * (rows + 1) + np.arange(rows)).ravel()
        nodes = np.stack([corner + 1, corner + rows + 2, corner + rows + 1, corner], axis=1)
        self.unknowns = (per_node * nodes[:, :, None] + np.arange(per_node)).reshape(len(corner), -1)
        size = per_node * (rows + 1) * (columns + 1)
        self._shape = (per_node * (rows + 3), size)
        row = np.repeat(self.unknowns, matrix.shape[0], axis=1).ravel()
        column = np.tile(self.unknowns, matrix.shape[0]).ravel()
        free = np.ones(size, dtype=bool)
        free[fixed] = False
        self._kept = np.flatnonzero((row >= column) & free[row] & free[column])
        self._places = (row - column)[self._kept] * size + column[self._kept]

    def solve(self, stiffness: Array, force: Array) -> Array:
        """Return the unknowns under *force*, for one stiffness per element."""
        values = (stiffness[:, None] * self.matrix.ravel()).ravel()[self._kept]
        band = np.bincount(self._places, values, self._shape[0] * self._shape[1]).reshape(self._shape)
        band[0, self._fixed] = 1.0
        factor = cholesky_banded(band, overwrite_ab=True, lower=True, check_finite=False)
        loads = force.copy()
        loads[self._fixed] = 0.0
        return cho_solve_banded((factor, True), loads, overwrite_b=True, check_finite=False)

    def energies(self, solution: Array) -> Array:
        """Return u^T K u per element of unit stiffness."""
        local = solution[self.unknowns]
        return np.einsum("ei,ei->e", local @ self.matrix, local)


@dataclass(frozen=True)
class _Loaded:
    """A mesh and the load on its unknowns."""

    elements: _Elements
    force: Array


def _optimise(
    loaded: Callable[[int, int], _Loaded],
    rows: int,
    columns: int,
    fraction: float,
    radius: float,
    least: float,
    *,
    mirror: bool = False,
) -> Array:
    """Minimise the compliance at a volume fraction; return the filtered densities ``(rows, columns)``.

    Of a large mesh the design is found on one of half as many rows first, and sharpened by a few rounds.
    """
    x, rounds = np.full((rows, columns), fraction), _ROUNDS
    if rows > _COARSE_ROWS and radius / 2 > _LEAST_RADIUS:
        halves = (rows // 2, columns // 2)
        x = _rounds(
            loaded(*halves),
            np.full(halves, fraction),
            rounds,
            _filter(*halves, radius / 2),
            least,
            mirror=mirror,
        )
        x, rounds = resized(x[None], rows, columns)[0], _SHARPENING
    blur = _filter(rows, columns, radius)
    x = _rounds(loaded(rows, columns), x, rounds, blur, least, mirror=mirror)
    return (blur @ x.T.ravel()).reshape(columns, rows).T


def _rounds(
    loaded: _Loaded, start: Array, rounds: int, blur: csr_matrix, least: float, *, mirror: bool
) -> Array:
    """Return the variables ``(rows, columns)``, densities before the filter, after some rounds from a start.

    With *mirror* the slopes are averaged over left and right, as the problem has them: rounding errors
    would else grow into lopsided branches.
    """
    rows, columns = start.shape
    price = blur.T @ np.ones(rows * columns)
    x = start.T.ravel()
    volume = float(price @ x)
    for _ in range(rounds):
        density = blur @ x
        stiffness = least + density**_PENALTY * (1 - least)
        solution = loaded.elements.solve(stiffness, loaded.force)
        slope = -_PENALTY * density ** (_PENALTY - 1) * (1 - least) * loaded.elements.energies(solution)
        if mirror:
            slope = 0.5 * (slope + slope.reshape(columns, rows)[::-1].ravel())
        after = _criteria(x, blur.T @ slope, price, volume)
        change, x = float(np.abs(after - x).max()), after
        if change < _CHANGE:
            break
    return x.reshape(columns, rows).T


def _criteria(x: Array, slope: Array, price: Array, volume: float) -> Array:
    """Return the optimality-criteria update, the multiplier found by bisection.

    *volume*, the sum of densities, grows by *price* with each variable.
    """
    low, high = 1e-12, 1e12
    after = x
    least, most = np.maximum(x - _MOVE, 0), np.minimum(x + _MOVE, 1)
    wanted = x * np.sqrt(np.maximum(-slope, 0) / price)
    while (high - low) / (low + high) > 1e-3:
        middle = np.sqrt(low * high) if high / low > 4 else 0.5 * (low + high)
        after = np.clip(wanted / np.sqrt(middle), least, most)
        if price @ after > volume:
            low = middle
        else:
            high = middle
    return after


def _filter(rows: int, columns: int, radius: float) -> csr_matrix:
    """Return the density filter, weights falling linearly to zero at *radius*."""
    radius = max(radius, 1.0)
    reach = int(np.ceil(radius)) - 1
    column, row = (axis.ravel() for axis in np.meshgrid(np.arange(columns), np.arange(rows), indexing="ij"))
    to, of, weights = [], [], []
    for dc in range(-reach, reach + 1):
        for dr in range(-reach, reach + 1):
            weight = radius - np.hypot(dc, dr)
            inside = (column + dc >= 0) & (column + dc < columns) & (row + dr >= 0) & (row + dr < rows)
            if weight > 0:
                here = np.flatnonzero(inside)
                to.append(here)
                of.append(here + dc * rows + dr)
                weights.append(np.full(len(here), weight))
    parts = (np.concatenate(weights), (np.concatenate(to), np.concatenate(of)))
    matrix = coo_matrix(parts, shape=(rows * columns, rows * columns)).tocsr()
    return csr_matrix(diags(1.0 / np.asarray(matrix.sum(axis=1)).ravel()) @ matrix)
