import math

import numpy as np

from benchmarks.deep_linear import two_eigenvalues
from benchmarks.rank_regression import answer

T = 100.0


def test_two_layers_on_white_inputs_are_the_deep_linear_network():
    """With unit covariance of x and no y, L is half the square of the product of two matrices."""
    x = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 2)))[0] * 2.0
    nothing = np.zeros((2, 2))

    value, error = answer(x, 0.0 * x, nothing, nothing, 2.0 * T, chains=64, sweeps=300)

    assert error < 0.02
    assert math.isclose(value, two_eigenvalues(2, 2, T), abs_tol=4.0 * error)
