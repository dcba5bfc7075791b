"""The point of a search space at which a function of the model is greatest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import erfcx, log_ndtr

from parsl_optuna.study.search.cube import Cube

Array = NDArray[np.float64]

N_CANDIDATES = 1500
_N_LEADERS, _N_STARTS, _MOST_ROUNDS = 10, 5, 30
_MOST_NEIGHBOURS = 100
"""Of a point with more neighbours so many are looked at, drawn anew each time."""
_JUMPS = (0.1, 0.03, 0.01)
"""Standard deviations of steps from a leader, in units of a parameter's range."""
_JUMPS_EACH = 4
_MOST_BLOCK = 1024
_GRADIENT_STEPS = 30
_LEAST_GAIN = 1e-6
"""A climb ends at less gain in the log of the improvement; coarser limits lose on smooth functions."""
_LOG_SQRT_2PI = 0.5 * np.log(2.0 * np.pi)


def log_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Return the logarithm of the expected improvement below *best*.

    Far in the tail by erfcx, where the plain formula cancels (Ament et al. 2023, arXiv:2310.20708).
    """
    z = (best - mean) / deviation
    tail = np.minimum(z, -1.0)
    # phi(z) + z Phi(z) = phi(z) (1 + z sqrt(pi / 2) erfcx(-z / sqrt 2))
    far = -0.5 * tail**2 - _LOG_SQRT_2PI + _log1m(-tail * np.sqrt(np.pi / 2.0) * erfcx(-tail / np.sqrt(2.0)))
    near = np.maximum(z, -1.0)
    close = np.log(np.exp(-0.5 * near**2 - _LOG_SQRT_2PI) + near * np.exp(log_ndtr(near)))
    return np.where(z < -1.0, far, close) + np.log(deviation)


def _log1m(share: Array) -> Array:
    """Return log(1 - share); shares so near 1 that nothing is left count as one rounding error below it."""
    return np.log1p(-np.minimum(share, 1.0 - 1e-15))


class Climber:
    """Looks for the greatest value of a function.

    Args:
        cube: The space.
        seen: Points that are not to be proposed again.
        value: Returns the function at rows.
        slope: Returns value and gradient by the continuous parameters at one row.
        held: Coordinates that are given, by column.
    """

    def __init__(
        self,
        cube: Cube,
        seen: Array,
        value: Callable[[Array], Array],
        slope: Callable[[Array, NDArray[np.intp]], tuple[float, Array]],
        held: dict[int, float],
    ) -> None:
        self._cube, self._value, self._slope, self._held = cube, value, slope, held
        self._seen = {row.tobytes() for row in _rounded(seen)}

    def unseen(self, rows: Array) -> Array:
        """Return the rows that were not seen, each once."""
        for column, coordinate in self._held.items():
            rows[:, column] = coordinate
        rows = self._cube.without_absent(rows)
        _, first = np.unique(_rounded(rows), axis=0, return_index=True)
        rows = rows[np.sort(first)]
        if not len(rows):
            return rows
        return rows[[row.tobytes() not in self._seen for row in _rounded(rows)]]

    def best(self, leaders: Array, generator: np.random.Generator) -> Array | None:
        """Return the best point found; None where none of the candidates is unseen.

        Args:
            leaders: The best points so far, whose neighbours are looked at.
            generator: Draws the candidates.
        """
        cube = self._cube
        pool = [cube.place(generator.random((N_CANDIDATES, len(cube.axes))))]
        for row in leaders[:_N_LEADERS]:
            pool += [self._neighbours(row, generator), self._jumps(row, generator)]
        rows = self.unseen(np.concatenate(pool))
        if not len(rows):
            return None
        values = self._values(rows)
        order = np.argsort(-values, kind="stable")[:_N_STARTS]
        starts = zip(rows[order], values[order], strict=True)
        ends = [self._climb(row, value, generator) for row, value in starts]
        return max(ends, key=lambda end: end[1])[0]

    def _jumps(self, row: Array, generator: np.random.Generator) -> Array:
        """Return points a normal step away from one in its continuous parameters."""
        free = self._cube.continuous
        if not len(free):
            return np.empty((0, len(row)))
        rows = np.repeat(row[None, :], _JUMPS_EACH * len(_JUMPS), axis=0)
        steps = np.repeat(_JUMPS, _JUMPS_EACH)[:, None] * generator.standard_normal((len(rows), len(free)))
        rows[:, free] = np.clip(rows[:, free] + steps, 0.0, 1.0)
        return rows

    def _neighbours(self, row: Array, generator: np.random.Generator) -> Array:
        rows = self._cube.neighbours(row)
        if len(rows) <= _MOST_NEIGHBOURS:
            return rows
        return rows[np.sort(generator.choice(len(rows), _MOST_NEIGHBOURS, replace=False))]

    def _climb(self, row: Array, value: float, generator: np.random.Generator) -> tuple[Array, float]:
        """Go to better neighbours, and along the gradient, until neither is better."""
        for _ in range(_MOST_ROUNDS):
            before = value
            row, value = self._along_gradient(row, value)
            rows = self.unseen(self._neighbours(row, generator))
            if len(rows):
                values = self._values(rows)
                top = int(np.argmax(values))
                if values[top] > value:
                    row, value = rows[top], float(values[top])
            if value <= before + _LEAST_GAIN:
                break
        return row, value

    def _along_gradient(self, row: Array, value: float) -> tuple[Array, float]:
        free = np.array(
            [j for j in self._cube.continuous if not np.isnan(row[j]) and j not in self._held], dtype=np.intp
        )
        if not len(free):
            return row, value

        def loss(coordinates: Array) -> tuple[float, Array]:
            moved = row.copy()
            moved[free] = coordinates
            found, slope = self._slope(moved, free)
            return -found, -slope

        found = minimize(
            loss,
            row[free],
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, 1.0)] * len(free),
            options={"maxiter": _GRADIENT_STEPS},
        )
        moved = row.copy()
        moved[free] = np.clip(found.x, 0.0, 1.0)
        if -found.fun > value and len(self.unseen(moved[None, :])):
            return moved, float(-found.fun)
        return row, value

    def _values(self, rows: Array) -> Array:
        blocks = [self._value(rows[i : i + _MOST_BLOCK]) for i in range(0, len(rows), _MOST_BLOCK)]
        return np.concatenate(blocks)


def _rounded(rows: Array) -> Array:
    """Return rows that are equal in bytes where points are the same up to rounding; NaN becomes -2."""
    return np.where(np.isnan(rows), -2.0, np.round(rows, 12)) + 0.0
