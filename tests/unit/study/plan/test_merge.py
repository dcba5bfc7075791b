import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.space import Categorical, Float, Int, Space
from parsl_optuna.study.plan.merge import merge_space

DEFAULT = Space({"lr": Float(1e-4, 1e-1, log=True), "k": Int(1, 9, step=2), "kind": Categorical(("a", "b"))})
PARAMS = {"lr": 0.01, "k": 1, "kind": "a", "free": 0.5, "target": None}


def merge(changes):
    return merge_space(DEFAULT, changes, PARAMS, "f.yaml $.search_space.m")


def test_no_change_keeps_the_default():
    assert merge({}) == DEFAULT


def test_bounds_keep_what_they_do_not_name():
    assert merge({"lr": {"high": 1e-2}}).dimensions["lr"] == Float(1e-4, 1e-2, log=True)
    assert merge({"k": {"high": 5}}).dimensions["k"] == Int(1, 5, step=2)


def test_a_value_fixes_a_parameter_and_a_null_too():
    space = merge({"lr": 0.02, "target": None})

    assert "lr" not in space.dimensions
    assert space.fixed == {"lr": 0.02, "target": None}


def test_a_parameter_outside_the_default_space_can_vary():
    assert merge({"free": {"low": 0.0, "high": 1.0}}).dimensions["free"] == Float(0.0, 1.0)


def test_choices_replace_a_range():
    assert merge({"k": {"choices": [1, 7]}}).dimensions["k"] == Categorical((1, 7))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lrr": 1}, ["lrr", "did you mean 'lr'"]),
        ({"lr": {"lo": 1}}, ["lr", "lo", "low"]),
        ({"lr": {"low": 1.0, "high": 0.1}}, ["lr", "low 1.0", "high 0.1"]),
        ({"free": {"low": 0.0}}, ["free", "needs low and high"]),
        ({"k": {"dist": "normal"}}, ["k.dist", "normal"]),
        ({"k": {"dist": "int", "low": 1.5}}, ["k", "whole"]),
        ({"lr": {"step": 2}}, ["lr", "step"]),
        ({"lr": {"low": -1.0}}, ["lr", "log"]),
        ({"kind": {"dist": "categorical"}}, ["kind", "choices"]),
    ],
)
def test_mistakes_are_told_with_their_place(changes, words):
    with pytest.raises(SpecError) as caught:
        merge(changes)

    assert all(word in str(caught.value) for word in ["f.yaml $.search_space.m", *words])


@pytest.mark.parametrize("name", ["", " "])
def test_a_parameter_without_a_name_is_refused(name):
    """A program would get it as --=0.3."""
    with pytest.raises(SpecError, match=r"search_space\.m: a parameter has the empty name"):
        merge_space(Space({}), {name: {"low": 0.0, "high": 1.0}}, {name: 0.0}, "f.yaml $.search_space.m")
