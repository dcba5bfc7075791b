"""What Optuna sees of a space, and that people never see it."""

import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from parsl_optuna.core.space import Categorical, Float, Int, Space
from parsl_optuna.study.search.codes import Codes
from parsl_optuna.study.search.search import Search

from tests.toyrun import toy_plan

SPACE = Space(
    {
        "rate": Float(0.0, 1.0, step=0.1),
        "scale": Float(0.1, 0.8, log=True, step=0.1),
        "width": Int(16, 256, step=16, log=True),
        "size": Categorical(("small", "medium", "large"), ordered=True),
        "kind": Categorical((1, "1", None)),
        "n": Int(1, 10, step=3),
        "momentum": Float(0.0, 1.0),
    },
    {},
    {"momentum": {"rate": (0.1, 0.3, 0.6, 0.7), "size": ("large",)}},
)
CODES = Codes(SPACE)


def test_steps_and_orders_are_whole_numbers_to_optuna():
    assert CODES.distributions == {
        "rate": IntDistribution(0, 10),
        "scale": IntDistribution(1, 8, log=True),
        "width": IntDistribution(1, 16, log=True),
        "size": IntDistribution(0, 2),
        "kind": CategoricalDistribution((1, "1", None)),
        "n": IntDistribution(1, 10, step=3),
        "momentum": FloatDistribution(0.0, 1.0),
    }
    assert CODES.conditions == {"momentum": {"rate": (1, 3, 6, 7), "size": (2,)}}


@given(st.data())
def test_what_is_encoded_is_decoded(data):
    values = {
        name: data.draw(st.sampled_from(list(Space({name: one}).points())))[name]
        for name, one in SPACE.dimensions.items()
        if name != "momentum"
    }

    assert CODES.decode(CODES.encode(values)) == values
    assert {type(value) for value in CODES.decode(CODES.encode({"width": 32})).values()} == {int}


def test_a_bound_that_is_no_step_makes_optuna_say_nothing():
    assert Codes(Space({"n": Int(0, 10, step=3)})).distributions["n"].high == 9


def study_plan(**search):
    plan = toy_plan().studies[0]
    return replace(plan, space=SPACE, search=replace(plan.search, **search))


@pytest.mark.parametrize("sampler", ["rank_gp", "tpe", "random"])
def test_every_proposal_is_a_point_as_a_person_would_write_it(sampler):
    search = Search(study_plan(sampler=sampler), 1)
    points = []
    for number in range(30):
        points.append(search.ask(number))
        search.tell(number, [abs(points[-1]["rate"] - 0.3)])

    points.append(search.suggest(30, {"rate": 0.3, "size": "large"}))
    assert all(SPACE.contains(point) for point in points)
    assert "momentum" in points[-1]


def test_a_guess_comes_back_as_it_was_given():
    guess = {"rate": 0.3, "scale": 0.7, "width": 48, "size": "large", "kind": None, "n": 7, "momentum": 0.5}

    assert Search(study_plan(), 1).suggest(0, guess) == guess


def test_the_pickled_study_has_the_values_themselves():
    search = Search(study_plan(), 1)
    point = search.ask(0)
    search.tell(0, [1.0])

    (trial,) = pickle.loads(search.pickled()).trials

    assert trial.params == point
    assert trial.distributions["rate"] == FloatDistribution(0.0, 1.0, step=0.1)
    assert trial.distributions["size"] == CategoricalDistribution(("small", "medium", "large"))
    assert trial.value == 1.0
