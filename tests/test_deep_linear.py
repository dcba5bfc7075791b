"""The exact sampler behind the truth table, against quadrature."""

import pytest

from benchmarks.deep_linear import answer, losses, two_eigenvalues, two_scalars
from tests.scenarios import n_beta, w1w2_squared

T = n_beta(1000)


def test_two_scalars_at_rank_0_are_the_closed_form_of_w1_w2_squared():
    assert two_scalars(0, T) == pytest.approx(w1w2_squared(T), rel=1e-9)


def test_two_eigenvalues_do_not_depend_on_the_direction_of_the_network():
    """Transposing swaps inputs and outputs and leaves the loss; the two integrands differ."""
    assert two_eigenvalues(2, 4, T) == pytest.approx(two_eigenvalues(4, 2, T), rel=1e-5)
    assert two_eigenvalues(2, 2, T) == pytest.approx(1.4051, abs=1e-4)


@pytest.mark.parametrize(
    ("widths", "rank", "t", "truth"),
    [
        ((1, 1, 1), 0, T, w1w2_squared(T)),
        ((1, 1, 1), 1, 1.0, two_scalars(1, 1.0)),  # with a larger t chains seldom change the sign of both
        ((2, 2, 2), 0, T, two_eigenvalues(2, 2, T)),
        ((3, 2, 3), 0, T, two_eigenvalues(3, 3, T)),
    ],
)
def test_gibbs_sampling_agrees_with_quadrature(widths, rank, t, truth):
    found = answer(widths, rank, t, chains=128, sweeps=400)

    assert abs(found.value - truth) < 4 * found.se
    assert found.se < 0.003 * truth
    assert found.rhat < 1.02
    assert abs(found.halves) < 4
    assert abs(found.starts) < 4


def test_one_layer_is_a_regression_and_exact():
    """Every entry of a single layer has curvature 2 t, and the conditional mean is the whole answer."""
    found = losses((2, 3), 2, T, 1.0, chains=4, sweeps=3, seed=0)

    assert found == pytest.approx(0.5 * 6 * 2 * T / (2 * T + 1), rel=1e-12)
