import math

import numpy as np
import pytest
from parsl_optuna.core.records import Comparison
from parsl_optuna.report.bias import ALL, SOUND, biases
from parsl_optuna.report.configurations import flatten
from scipy import stats

from tests.unit.report.test_configurations import trials

NAMES = Comparison("llc_hat", "se_hat", "llc_ref", "se_ref")
HAT = np.array([1.2, 0.9, 1.5, 3.0])


def rows(**columns):
    known = {"llc_hat": HAT, "se_hat": 0.3, "llc_ref": 1.0, "se_ref": 0.4} | columns
    return flatten(trials([{"a": k} for k in range(4)], 1.0, **known))


def test_bias_interval_error_and_coverage_are_those_of_the_differences():
    (found,) = biases(rows(), NAMES).to_dict("records")

    difference = HAT - 1.0
    low, high = stats.t.interval(0.95, 3, loc=difference.mean(), scale=stats.sem(difference))
    assert (found["bias"], found["low"], found["high"]) == pytest.approx((difference.mean(), low, high))
    assert found["rmse"] == pytest.approx(math.sqrt(np.mean(difference**2)))
    assert found["covered"] == 0.75  # 1.96 times 0.5 is 0.98
    assert found["trials_of"] == ALL


def test_trials_whose_own_verdict_is_ok_have_a_row_of_their_own():
    found = biases(rows().assign(verdict=["ok", "ok", "ok", "not_converged"]), NAMES)

    sound = found.set_index("trials_of").loc[SOUND]
    assert (sound["trials"], sound["bias"]) == (3, pytest.approx((HAT[:3] - 1.0).mean()))


def test_trials_without_a_reference_are_left_out():
    assert biases(rows(llc_ref=math.nan), NAMES).empty
    assert biases(flatten(trials([{"a": 1}], 1.0)), NAMES).empty
