"""A Gaussian process on coordinates of the unit cube and on categories. Pure: numpy and scipy, no Optuna.

Matérn 5/2 with one length scale per parameter (Rasmussen & Williams 2006, eq. 4.17); two categories are at
distance 0 or 1. Hyperparameters maximise the posterior density, priors below.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, get_lapack_funcs, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

_SQRT5 = 5.0**0.5
_MOST_FITTED = 200
"""Hyperparameters are fitted to at most so many points: a step of the optimiser costs their cube."""

# Logarithms of the hyperparameters are normal a priori; lengths are in units of a parameter's range, and grow
# with the square root of the number of parameters (Hvarfner et al. 2024, arXiv:2402.02229), so that the model
# does not become harder to learn with it. Their mean and spread were chosen by `benchmarks.search`: the wide
# ones of that paper go astray on continuous functions of few parameters.
_LENGTH_MEAN, _LENGTH_SD = 0.0, 1.0
# Values have variance 1 (`scores`).
_SIGNAL_MEAN, _SIGNAL_SD = 0.0, 1.0
_BOUNDS_LENGTH, _BOUNDS_SIGNAL, _BOUNDS_NOISE = (-4.0, 8.0), (-4.0, 4.0), (np.log(1e-6), 0.0)
_MOST_STEPS = 60
_POTRI = get_lapack_funcs(("potri",), dtype=np.float64)[0]
"""Inverse of a matrix from its Cholesky factor."""


class Noise(NamedTuple):
    """What repeats of the same point differ by, a priori: the logarithm of the variance is normal."""

    mean: float
    deviation: float


SMOOTH = Noise(float(np.log(1e-4)), 2.0)
"""Of values on their own scale."""
ROUGH = Noise(float(np.log(1e-2)), 1.5)
"""Of ranks, and of what has steps. Both were chosen by `benchmarks.search`."""


@dataclass(frozen=True)
class Hyperparameters:
    """Of the kernel: a length per parameter, the variance of the signal and of the noise."""

    lengths: Array
    signal: float
    noise: float


def fit(
    points: Array, values: Array, choices: tuple[int, ...], noise: Noise = SMOOTH, *, alike: bool = False
) -> Hyperparameters:
    """Return the hyperparameters of greatest posterior density.

    Args:
        points: Coordinates, shape (points, parameters); of a category its index.
        values: One per point, of about unit variance.
        choices: Per parameter the number of its categories; 0 of a number.
        noise: What is believed of the noise beforehand.
        alike: All numbers have one length in common.
    """
    if len(points) > _MOST_FITTED:
        chosen = spread(values, _MOST_FITTED)
        points, values = points[chosen], values[chosen]
    return _fit(points.tobytes(), values.tobytes(), choices, noise, alike)


def spread(values: Array, count: int) -> NDArray[np.intp]:
    """Choose *count* points: the better half by value, the rest evenly among the others; in their order."""
    order = np.argsort(values, kind="stable")
    best, others = order[: count // 2], order[count // 2 :]
    rest = count - len(best)
    picked = others[np.linspace(0, len(others) - 1, rest).round().astype(int)]
    return np.sort(np.concatenate([best, picked]))


@functools.lru_cache(maxsize=8)  # all trials that are asked for between two results share one fit
def _fit(
    points: bytes, values: bytes, choices: tuple[int, ...], noise: Noise, alike: bool
) -> Hyperparameters:
    y = np.frombuffer(values)
    x = np.frombuffer(points).reshape(len(y), len(choices))
    mean = _LENGTH_MEAN + 0.5 * np.log(len(choices))
    owners = _owners(choices, alike)
    d, apart = owners.max() + 1, _distances(x, choices)
    distances = np.stack([apart[owners == owner].sum(0) for owner in range(d)])
    start = np.concatenate([np.full(d, min(mean, 1.0)), [_SIGNAL_MEAN, noise.mean]])
    bounds = [_BOUNDS_LENGTH] * d + [_BOUNDS_SIGNAL, _BOUNDS_NOISE]
    prior_mean = np.concatenate([np.full(d, mean), [_SIGNAL_MEAN, noise.mean]])
    prior_sd = np.concatenate([np.full(d, _LENGTH_SD), [_SIGNAL_SD, noise.deviation]])

    def objective(theta: Array) -> tuple[float, Array]:
        value, gradient = _loss(theta, distances, y)
        standardised = (theta - prior_mean) / prior_sd
        return value + 0.5 * float(standardised @ standardised), gradient + standardised / prior_sd

    options = {"maxiter": _MOST_STEPS}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    theta = found.x
    return Hyperparameters(np.exp(theta[:d])[owners], float(np.exp(theta[d])), float(np.exp(theta[d + 1])))


def _owners(choices: tuple[int, ...], alike: bool) -> NDArray[np.intp]:
    """Return for each parameter which of the lengths is its own."""
    own = np.arange(len(choices))
    return np.unique(np.where(np.array(choices) == 0, -1, own) if alike else own, return_inverse=True)[1]


def _distances(x: Array, choices: tuple[int, ...]) -> Array:
    """Return squared distances per parameter, shape (parameters, points * points)."""
    columns = [
        (column[:, None] != column[None, :]).astype(float)
        if count
        else np.square(column[:, None] - column[None, :])
        for column, count in zip(x.T, choices, strict=True)
    ]
    return np.stack(columns).reshape(len(choices), -1)


def _loss(theta: Array, distances: Array, y: Array) -> tuple[float, Array]:
    """Return the negative log marginal likelihood and its gradient (Rasmussen & Williams, eq. 5.8, 5.9)."""
    n, d = len(y), len(distances)
    inverse_squares = np.exp(-2.0 * theta[:d])
    signal, noise = np.exp(theta[d]), np.exp(theta[d + 1])
    r = np.sqrt(inverse_squares @ distances).reshape(n, n)
    decay = signal * np.exp(-_SQRT5 * r)
    kernel = (1.0 + _SQRT5 * r + 5.0 / 3.0 * r**2) * decay
    noisy = kernel.copy()
    noisy.flat[:: n + 1] += noise + _jitter(signal)
    lower = cholesky(noisy, lower=True, check_finite=False)
    alpha = cho_solve((lower, True), y, check_finite=False)
    value = 0.5 * float(y @ alpha) + float(np.log(np.diagonal(lower)).sum())
    inverse, _ = _POTRI(lower, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    weight = inverse - np.outer(alpha, alpha)
    by_square = (weight * (1.0 + _SQRT5 * r) * decay).ravel() * (-5.0 / 6.0)
    lengths = 0.5 * (distances @ by_square) * (-2.0 * inverse_squares)
    return value, np.concatenate(
        [lengths, [0.5 * float((weight * kernel).sum()), 0.5 * noise * float(np.trace(weight))]]
    )


def _jitter(signal: float) -> float:
    return 1e-8 * signal  # rounding errors of the Cholesky factor


class Posterior:
    """What the model knows after some points.

    Args:
        points: Coordinates, shape (points, parameters).
        values: One per point.
        running: Coordinates of trials without a value yet, shape (trials, parameters). They are believed to
            come out at their predicted mean ("kriging believer", Ginsbourger et al. 2010).
        hyperparameters: Of the kernel.
        choices: As in `fit`.

    Attributes:
        at_points: Predicted means at *points*, and at *running*.
    """

    def __init__(
        self,
        points: Array,
        values: Array,
        running: Array,
        hyperparameters: Hyperparameters,
        choices: tuple[int, ...],
    ) -> None:
        self._choices, self._hyperparameters = choices, hyperparameters
        h = hyperparameters
        features = self._features(np.concatenate([points, running]))
        kernel = _matern(_squares(features, features), h.signal)
        at = kernel.copy()
        kernel.flat[:: len(kernel) + 1] += h.noise + _jitter(h.signal)
        n = len(points)
        lower = cholesky(kernel[:n, :n], lower=True, check_finite=False)
        alpha = cho_solve((lower, True), values, check_finite=False)
        self.at_points = at[:, :n] @ alpha
        if len(running):
            # A value that is its own predicted mean changes no mean: variances alone see the running trials.
            alpha = np.concatenate([alpha, np.zeros(len(running))])
            lower = cholesky(kernel, lower=True, check_finite=False)
        self._features_known, self._lower, self._alpha = features, lower, alpha

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the noise-free value at each point."""
        h = self._hyperparameters
        kernel = _matern(_squares(self._features_known, self._features(points)), h.signal)
        mean = self._alpha @ kernel
        solved = solve_triangular(self._lower, kernel, lower=True, check_finite=False)
        variance = h.signal - np.einsum("ij,ij->j", solved, solved)
        return mean, np.sqrt(np.maximum(variance, 1e-12 * h.signal))

    def gradient(self, point: Array, free: NDArray[np.intp]) -> tuple[float, float, Array, Array]:
        """Return mean, standard deviation, and their gradients by the numbers *free* at one point."""
        h = self._hyperparameters
        ours = self._features(point[None, :])
        squares = _squares(self._features_known, ours)[:, 0]
        r = np.sqrt(squares)
        decay = h.signal * np.exp(-_SQRT5 * r)
        kernel = (1.0 + _SQRT5 * r + 5.0 / 3.0 * squares) * decay
        solved = cho_solve((self._lower, True), kernel, check_finite=False)
        deviation = np.sqrt(max(h.signal - float(kernel @ solved), 1e-12 * h.signal))
        columns = self._columns[free]
        # d kernel / d x_j = -5/3 (1 + sqrt(5) r) exp(-sqrt(5) r) (x_j - x'_j) / l_j^2, in scaled features.
        slope = (-5.0 / 3.0) * ((1.0 + _SQRT5 * r) * decay)[:, None]
        slope = slope * (ours[:, columns] - self._features_known[:, columns]) / h.lengths[free]
        return float(self._alpha @ kernel), deviation, self._alpha @ slope, -(solved @ slope) / deviation

    @functools.cached_property
    def _columns(self) -> NDArray[np.intp]:
        """Column of each parameter's first feature."""
        widths = [max(count, 1) for count in self._choices]
        return np.concatenate([[0], np.cumsum(widths)[:-1]]).astype(np.intp)

    def _features(self, points: Array) -> Array:
        """Return columns whose squared Euclidean distance is the scaled distance of the kernel."""
        columns = []
        for column, count, length in zip(points.T, self._choices, self._hyperparameters.lengths, strict=True):
            if count:
                columns.append((column[:, None] == np.arange(count)) / (2.0**0.5 * length))
            else:
                columns.append(column[:, None] / length)
        return np.concatenate(columns, axis=1)


def _squares(a: Array, b: Array) -> Array:
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None, :] - 2.0 * (a @ b.T)
    return np.maximum(squares, 0.0)


def _matern(squares: Array, signal: float) -> Array:
    r = np.sqrt(squares)
    return signal * (1.0 + _SQRT5 * r + 5.0 / 3.0 * squares) * np.exp(-_SQRT5 * r)
