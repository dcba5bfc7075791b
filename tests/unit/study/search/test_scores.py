import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl_optuna.study.search.scores import (
    at_last_step,
    excess_scores,
    log_scores,
    normal_scores,
    scalarised,
)
from scipy.stats import norm, rankdata


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20))
def test_scores_are_normal_quantiles_of_mean_ranks(values):
    expected = norm.ppf((rankdata(values) - 0.5) / len(values))

    assert normal_scores(np.array(values, dtype=float)) == pytest.approx(expected)


def test_failures_rank_last():
    scores = normal_scores(np.array([3.0, np.inf, 1.0, np.inf]))

    assert scores[2] < scores[0] < scores[1] == scores[3]


extreme = st.floats(allow_nan=False, allow_infinity=False)
finite = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))


@given(st.lists(st.one_of(finite, st.just(np.inf), extreme), min_size=1, max_size=20))
def test_scores_never_turn_an_order_round(values):
    found = log_scores(np.array(values, dtype=float))

    assert np.isfinite(found).all()
    for value, score in zip(values, found, strict=True):
        assert all(other <= score + 1e-9 for v, other in zip(values, found, strict=True) if v <= value)


def test_scores_do_not_depend_on_the_unit():
    values = np.array([3.0, 0.5, 1.0, 9.0, np.inf, 2.0])

    assert log_scores(1000.0 * values - 7.0) == pytest.approx(log_scores(values))


def test_a_value_far_better_than_all_leaves_the_differences_of_the_others():
    scores = log_scores(np.array([-1e9, *np.arange(30.0)]))

    assert np.ptp(scores[1:]) > 1.0


def test_a_failure_is_worse_than_the_worst_value():
    scores = log_scores(np.array([1.0, 1.1, 1.2, np.inf]))

    assert scores[3] > scores[2] > scores[1]


def test_a_constraint_is_kept_below_its_limit():
    values = np.array([-3.0, -1e-3, 0.0, 1e-3, 50.0, np.inf])

    scores, limit = excess_scores(values)

    assert (scores <= limit).tolist() == [True, True, True, False, False, False]
    assert scores[5] > scores[4]


def test_a_constraint_that_nothing_misses_has_a_limit():
    scores, limit = excess_scores(np.array([0.0, 0.0]))

    assert (scores <= limit).all()


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
