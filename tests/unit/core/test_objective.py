import math

import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.objective import Objective, evaluate, signed_error
from parsl_optuna.core.records import Comparison, Trusted

NAMES = Comparison("llc_hat", "se_hat", "llc_ref", "se_ref")
REFERENCE = Trusted(5.0, 0.1, "ok", None, "r_1")


def first(objective, **values):
    return evaluate(objective, ("error",), values, NAMES, REFERENCE)["error"]


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

    found = evaluate(Objective(), ("error", "runtime_sec", "work", "gone"), values, NAMES, REFERENCE)

    assert found == {"error": 1.0, "runtime_sec": 2.0, "work": 7.0, "gone": None}


def test_a_metric_can_be_maximized():
    assert first(Objective("metric", metric="r2", goal="maximize"), r2=0.7) == -0.7


@pytest.mark.parametrize("make", [lambda: Objective(delta=0.0), lambda: Objective(goal="maximize")])
def test_senseless_objectives_are_refused(make):
    with pytest.raises(SpecError):
        make()
