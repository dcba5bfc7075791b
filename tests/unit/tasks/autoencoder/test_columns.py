import numpy as np
import pytest
from parsl_optuna.tasks.autoencoder.columns import COLUMNS, PROFILES, WEIGHTS, periods


def test_profiles_fit_the_columns():
    assert len(COLUMNS) == len(set(COLUMNS)) == 24
    assert {len(row) for row in PROFILES} == {24}
    assert sum(WEIGHTS) == pytest.approx(1.0)


def test_periods_follow_their_profiles():
    values, kinds = periods(4000, 0.0, 1)

    assert values.min() >= 0
    assert values.max() <= 100
    assert (values == 0).mean() == pytest.approx(0.605, abs=0.02)
    for kind, profile in enumerate(PROFILES):
        assert np.abs(values[kinds == kind].mean(axis=0) - profile).max() < 6
    assert np.array_equal(periods(50, 0.0, 1)[0], periods(50, 0.0, 1)[0])


def test_cells_go_missing_at_the_rate_that_is_asked_for():
    assert np.isnan(periods(2000, 0.1, 0)[0]).mean() == pytest.approx(0.1, abs=0.01)
