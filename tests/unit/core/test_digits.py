import math

import pytest
from parsl_optuna.core.digits import digits_of


@pytest.mark.parametrize(
    ("values", "digits"),
    [
        ([], 4),
        ([1.0], 4),
        ([1e9, 1e9], 4),
        ([0.1, 0.2], 4),
        ([1e-12, 2e-12], 4),
        ([-5.0, 5.0], 4),
        ([1e9, 1e9 + 0.5], 13),
        ([-1e9, -1e9 - 0.5], 13),
        ([1e9, 1e9 + 1e-6], 15),
        ([-1.7e308, 1.7e308], 4),
        ([5e-324, 0.0], 4),
        ([100.0, 100.01, None, math.nan, math.inf], 8),
    ],
)
def test_digits_tell_values_apart(values, digits):
    assert digits_of(values) == digits


def test_values_beside_a_large_offset_look_different():
    values = [1e9 + 1e-3 * index for index in range(5)]

    assert len({f"{value:.{digits_of(values)}g}" for value in values}) == len(values)
