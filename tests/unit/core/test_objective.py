import math
from dataclasses import replace

import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.objective import Objective, Scoring, signed_error, violation_of
from parsl_optuna.core.records import Comparison, ReferenceValue

NAMES = Comparison("llc_hat", "se_hat", "llc_ref", "se_ref")
REFERENCE = ReferenceValue(5.0, 0.1, "ok", None, "r_1")


def first(objective, **values):
    return Scoring(objective).scores(values, NAMES, REFERENCE)["error"]


def test_the_default_is_the_absolute_error():
    assert first(Objective(), llc_hat=4.5) == pytest.approx(0.5)


@pytest.mark.parametrize(("value", "expected"), [(5.1, 0.5 * 0.1**2 / 0.2), (7.0, 2.0 - 0.1)])
def test_huber_takes_delta_from_the_reference_error(value, expected):
    assert first(Objective("huber"), llc_hat=value) == pytest.approx(expected)


def test_huber_is_continuous_at_delta():
    inside, outside = (first(Objective("huber", delta=0.5), llc_hat=5.5 + e) for e in (-1e-9, 1e-9))

    assert inside == pytest.approx(outside, abs=1e-8)


def test_standardised_uses_both_errors():
    assert first(Objective("standardised"), llc_hat=5.5, se_hat=0.3) == pytest.approx(
        0.5 / math.hypot(0.3, 0.1)
    )


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "x", True])
def test_what_is_no_number_has_no_objective(value):
    assert first(Objective(), llc_hat=value) is None


def test_without_a_reference_there_is_no_error():
    assert signed_error({"llc_hat": 1.0}, NAMES, None) is None
    assert signed_error({"llc_hat": 1.0}, None, REFERENCE) is None


def test_several_objectives_keep_their_order():
    values = {"llc_hat": 4.0, "runtime_sec": 2.0, "work": 7}

    found = Scoring(names=("error", "runtime_sec", "work", "gone")).scores(values, NAMES, REFERENCE)

    assert found == {"error": 1.0, "runtime_sec": 2.0, "work": 7.0, "gone": None}


def test_a_maximised_metric_keeps_its_sign_and_the_search_minimises_its_negative():
    scoring = Scoring(Objective("metric", metric="r2", goal="maximize"))

    scores = scoring.scores({"r2": 0.7}, None, None)

    assert scores == {"error": 0.7}
    assert scoring.minimised(scores) == (-0.7,)
    assert scoring.shown((-0.7,)) == scores


def test_every_objective_has_a_goal_of_its_own():
    scoring = Scoring(Objective("metric", metric="size"), ("acc", "size"), {"acc": "maximize"})

    assert scoring.minimised({"acc": 0.9, "size": 3.0}) == (-0.9, 3.0)
    assert scoring.minimised({"acc": 0.9, "size": None}) is None


def test_the_goal_of_the_objective_holds_for_its_metric_by_name():
    scoring = Scoring(Objective("metric", metric="acc", goal="maximize"), ("acc", "size"))

    assert scoring.minimised({"acc": 0.9, "size": 3.0}) == (-0.9, 3.0)


def test_what_is_stored_with_a_trial_scores_it_again():
    scoring = Scoring(Objective("huber", delta=0.5), ("error", "acc"), {"acc": "maximize"})

    assert Scoring.from_json(scoring.to_json()) == scoring


def test_what_older_versions_stored_is_still_read():
    old = {"type": "metric", "delta": None, "metric": "r2", "goal": "maximize", "names": ["error", "cost"]}

    scoring = Scoring.from_json(old)

    assert scoring.minimised(scoring.scores({"r2": 0.7, "cost": 2}, None, None)) == (-0.7, 2.0)


@pytest.mark.parametrize("make", [lambda: Objective(delta=0.0), lambda: Objective(goal="maximize")])
def test_senseless_objectives_are_refused(make):
    with pytest.raises(SpecError):
        make()


@pytest.mark.parametrize(
    ("value", "se", "expected"),
    [(5.01, 0.3, math.hypot(0.3, 0.1)), (7.0, 0.3, 2.0), (5.0, None, 0.1), (None, 0.3, None)],
)
def test_a_score_is_never_less_than_the_stated_error(value, se, expected):
    values = {"llc_hat": value, "se_hat": se}

    found = Scoring(names=("score",)).scores(values, NAMES, REFERENCE)["score"]

    assert found == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(("bias", "expected"), [(0.4, 0.5), (None, 0.3), ("large", 0.3)])
def test_a_score_contains_the_bias_that_a_trial_states(bias, expected):
    names = Comparison("llc_hat", "se_hat", "llc_ref", "se_ref", bias="off")
    values = {"llc_hat": 5.01, "se_hat": 0.3, "off": bias}

    exact = replace(REFERENCE, se=0.0)
    found = Scoring(names=("score",)).scores(values, names, exact)["score"]

    assert found == pytest.approx(expected)


def test_cost_is_the_time_to_five_percent():
    values = {"llc_hat": 5.5, "se_hat": 0.01, "runtime_sec": 3.0}

    found = Scoring(names=("score", "cost")).scores(values, NAMES, REFERENCE)

    assert found == {"score": 0.5, "cost": pytest.approx(3.0 * 4.0)}  # 10 % now: a quarter of the variance


def test_a_metric_of_that_name_is_the_objective():
    found = Scoring(names=("cost",)).scores({"llc_hat": 5.0, "cost": 7}, NAMES, REFERENCE)

    assert found == {"cost": 7.0}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"status": "ok", "far": 0.0}, 0.0),
        ({"status": "uncertain", "far": 0.2}, 0.2),
        ({"status": "uncertain"}, 1.0),
        ({}, 0.0),
    ],
)
def test_a_trial_violates_unless_its_diagnosis_is_ok(values, expected):
    names = Comparison("llc_hat", "se_hat", "llc_ref", "se_ref", "far")

    assert violation_of(values, names) == expected
    assert violation_of(values, NAMES) == 0.0
