import math

import numpy as np
import pandas as pd
import pytest
from parsl_optuna.report import linear


def test_a_scale_has_ranks_and_their_squares_and_nothing_where_it_is_missing():
    values = pd.Series([*range(1, 12), math.nan])

    ranks, squares = linear.columns(values).T

    assert (ranks[-1], squares[-1]) == (0.0, 0.0)
    assert np.argsort(ranks[:-1]).tolist() == list(range(11))
    assert (ranks.sum(), squares.sum()) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-9))
    assert ranks @ squares == pytest.approx(0.0, abs=1e-9)


def test_few_values_have_a_column_each_but_one():
    assert linear.columns(pd.Series(["x", "y", "z", "x"])).shape == (4, 2)


def test_the_rarest_order_is_that_of_a_permutation_test():
    assert linear.rarest(np.array([0, 0, 0, 0, 1, 1, 1, 1.0])) == pytest.approx(2 / 70)
    assert linear.rarest(np.arange(5.0)) == pytest.approx(2 / 120)
    assert linear.rarest(np.ones(3)) == 1.0
