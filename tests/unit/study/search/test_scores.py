import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl_optuna.study.search.scores import at_last_step, normal_scores, scalarised
from scipy.stats import norm, rankdata


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20))
def test_scores_are_normal_quantiles_of_mean_ranks(values):
    expected = norm.ppf((rankdata(values) - 0.5) / len(values))

    assert normal_scores(np.array(values, dtype=float)) == pytest.approx(expected)


def test_failures_rank_last():
    scores = normal_scores(np.array([3.0, np.inf, 1.0, np.inf]))

    assert scores[2] < scores[0] < scores[1] == scores[3]


def test_each_weight_prefers_its_objective():
    values = np.array([[0.0, 9.0], [9.0, 0.0], [5.0, 5.0]])

    assert np.argmin(scalarised(values, np.array([0.9, 0.1]))) == 0
    assert np.argmin(scalarised(values, np.array([0.1, 0.9]))) == 1


def test_a_pruned_trial_takes_the_final_value_of_its_rank_at_its_last_step():
    complete = [{0: 5.0, 1: 4.0}, {0: 6.0, 1: 5.0}, {0: 7.0, 1: 6.0}]
    finals = np.array([1.0, 2.0, 3.0])

    best, _ = at_last_step({0: 9.0, 1: 3.0}, 3.0, complete, [], finals)
    worst, _ = at_last_step({0: 5.5, 1: 9.0}, 9.0, complete, [], finals)

    assert (best, worst) == (1.0, 3.0)


def test_pruned_trials_behind_all_others_keep_their_order():
    complete, own = [{0: 1.0}], [{0: 3.0}, {0: 2.0}]

    keys = [at_last_step(one, one[0], complete, own, np.array([0.5])) for one in own]

    assert keys[1] < keys[0]


def test_without_reports_of_others_its_value_counts():
    assert at_last_step({0: 0.7}, 0.7, [{}, {}], [{0: 0.7}], np.array([0.1, 0.2]))[0] == 0.7
