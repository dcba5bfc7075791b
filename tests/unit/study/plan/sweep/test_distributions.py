import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.space import Categorical, Float, Int
from parsl_optuna.study.plan.sweep.distributions import parse, quantised
from scipy import stats

E = math.e
CASES = {
    # what is written -> distribution function of what is drawn
    "uniform": ({"min": 1.0, "max": 3.0}, stats.uniform(1, 2)),
    "log_uniform": ({"distribution": "log_uniform", "min": -2, "max": 1}, stats.loguniform(E**-2, E)),
    "log_uniform_values": (
        {"distribution": "log_uniform_values", "min": 0.01, "max": 10},
        stats.loguniform(0.01, 10),
    ),
    "inv_log_uniform": ({"distribution": "inv_log_uniform", "min": -1, "max": 2}, stats.loguniform(E**-2, E)),
    "inv_log_uniform_values": (
        {"distribution": "inv_log_uniform_values", "min": 0.1, "max": 5},
        stats.loguniform(0.1, 5),
    ),
    "normal": ({"mu": 2.0, "sigma": 0.5}, stats.norm(2, 0.5)),
    "log_normal": ({"distribution": "log_normal", "mu": 1.0, "sigma": 0.5}, stats.lognorm(0.5, scale=E)),
    "beta": ({"distribution": "beta", "a": 2.0, "b": 3.0}, stats.beta(2, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_draws_follow_their_distribution(name):
    raw, law = CASES[name]
    stream = random.Random(1)
    draws = [parse(raw, "p").draw(stream) for _ in range(4000)]

    assert stats.kstest(draws, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"value": {"a": 1}}, "constant"),
        ({"values": [1, "a", None]}, "categorical"),
        ({"values": [1, 2], "probabilities": [0.3, 0.7]}, "categorical_w_probabilities"),
        ({"min": 1, "max": 3}, "int_uniform"),
        ({"min": 1, "max": 3.0}, "uniform"),
        ({"mu": 0}, "normal"),
    ],
)
def test_what_is_not_said_is_implied(raw, kind):
    assert parse(raw, "p").name == kind


def test_weights_and_whole_numbers_are_drawn_as_written():
    stream = random.Random(1)
    weighted = parse({"values": ["a", "b"], "probabilities": [0.1, 0.9]}, "p")
    whole = parse({"min": 1, "max": 3}, "p")

    share = sum(weighted.draw(stream) == "a" for _ in range(4000)) / 4000
    assert share == pytest.approx(0.1, abs=0.02)
    assert {whole.draw(stream) for _ in range(100)} == {1, 2, 3}


@given(st.floats(-1e3, 1e3), st.sampled_from([0.1, 0.25, 2, 5]))
def test_quantised_values_are_multiples(value, q):
    found = quantised(value, q)

    assert abs(found - value) <= q / 2 + 1e-9
    assert found / q == pytest.approx(round(found / q), abs=1e-6)
    assert isinstance(found, int) == isinstance(q, int)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"min": 1, "max": 3}, [1, 2, 3]),
        ({"distribution": "q_uniform", "min": 0, "max": 10, "q": 5}, [0, 5]),
        ({"distribution": "q_uniform", "min": 0.1, "max": 1, "q": 0.5}, [0.1, 0.6]),
        ({"distribution": "q_uniform", "min": 0, "max": 2.5, "q": 1}, [0.0, 1.0, 2.0]),
        ({"distribution": "q_uniform", "min": 0.1, "max": 0.4, "q": 0.1}, np.arange(0.1, 0.4, 0.1).tolist()),
        ({"distribution": "q_uniform", "min": 1, "max": 1.3, "q": 0.1}, np.arange(1, 1.3, 0.1).tolist()),
        ({"values": [3, 1]}, [3, 1]),
    ],
)
def test_a_grid_lists_what_is_finite(raw, expected):
    assert repr(list(parse(raw, "p").listed("p"))) == repr(expected)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"values": [[1, 2], {"a": 1}, "x"]}, Categorical(("[1, 2]", '{"a": 1}', '"x"'))),
        ({"min": 1, "max": 3}, Int(1, 3)),
        ({"min": 1.0, "max": 3}, Float(1.0, 3)),
        ({"distribution": "log_uniform_values", "min": 1e-3, "max": 1}, Float(1e-3, 1, log=True)),
        ({"distribution": "q_uniform", "min": 0, "max": 10, "q": 5}, Int(0, 10, 5)),
        ({"distribution": "q_uniform", "min": 8, "max": 22, "q": 5}, Int(10, 20, 5)),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 64}, Int(1, 64, 1, log=True)),
        ({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.5}, Categorical((0.0, 0.5, 1.0))),
        ({"mu": 1.0, "sigma": 2.0}, Float(-5.0, 7.0)),
        ({"distribution": "beta"}, Float(0.0, 1.0)),
    ],
)
def test_a_search_gets_a_dimension(raw, expected):
    assert parse(raw, "p").dimension("p") == expected


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (3, "p: must be a mapping"),
        ({}, "p: give value, values, or min and max"),
        ({"values": []}, r"p\.values: must be a list"),
        ({"min": 1}, "p: uniform needs max"),
        ({"min": 2.0, "max": 1.0}, "min 2.0 is above max 1.0"),
        ({"min": "a", "max": 1.0}, r"p\.min: must be a number"),
        ({"distribution": "unifrom", "min": 0, "max": 1}, "did you mean 'uniform'"),
        ({"min": 0.0, "max": 1.0, "mx": 2}, r"p\.mx: does not go with uniform"),
        ({"distribution": "log_uniform_values", "min": 0, "max": 1}, "above 0 on a log scale"),
        ({"values": [1, 2], "probabilities": [0.5, 0.6]}, "whose sum is 1"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, r"p\.q: 0 must be above 0"),
        ({"distribution": "int_uniform", "min": 0.5, "max": 1}, "needs whole numbers"),
    ],
)
def test_mistakes_have_their_place(raw, message):
    with pytest.raises(SpecError, match=message):
        parse(raw, "p")


def test_what_cannot_be_listed_or_searched_is_told():
    with pytest.raises(SpecError, match="a grid cannot list 'uniform'"):
        parse({"min": 0.0, "max": 1.0}, "p").listed("p")


def test_a_search_spreads_what_it_looks_at_over_a_finely_quantised_range():
    fine = parse({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 1e-6}, "p").dimension("p")
    log = {"distribution": "q_log_uniform_values", "min": 10, "max": 10**6, "q": 10}
    logarithmic = parse(log, "p").dimension("p")

    assert (len(fine.choices), fine.choices[0], fine.choices[-1]) == (1000, 0.0, 1.0)
    assert (logarithmic.choices[0], logarithmic.choices[-1]) == (10, 10**6)
    assert all(isinstance(value, int) and value % 10 == 0 for value in logarithmic.choices)


def test_values_that_are_equal_are_searched_once():
    assert parse({"values": [1, 2, 1.0]}, "p").dimension("p").choices == (1.0, 2)


@pytest.mark.parametrize("q", [1e-9, 1e-7])
def test_a_grid_of_too_many_steps_is_told(q):
    with pytest.raises(SpecError, match="are too many for a grid; take a larger q"):
        parse({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": q}, "p").listed("p")
