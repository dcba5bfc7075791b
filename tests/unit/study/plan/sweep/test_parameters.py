import datetime

import pytest
from parsl_optuna.core.errors import Mistakes, SpecError
from parsl_optuna.study.plan.sweep.parameters import Inherited, read_parameters


def read(raw):
    mistakes = Mistakes()
    found = read_parameters(raw, "f $.parameters", mistakes)
    mistakes.raise_any()
    return found


def test_nested_parameters_of_any_depth_get_flat_names_in_wandbs_order():
    found = read(
        {
            "steps": {"value": 1},
            "conf": {"parameters": {
                "optim": {"parameters": {"lr": {"values": [0.1, 0.01]}, "name": {"value": "sgd"}}},
                "depth": {"min": 1, "max": 3},
            }},
        }
    )  # fmt: skip

    assert list(found.flat) == ["conf.depth", "conf.optim.lr", "conf.optim.name", "steps"]
    assert found.nested == {"conf": ["depth", "optim"], "conf.optim": ["lr", "name"]}
    assert found.notes == []


def test_a_value_may_come_from_another_sweep_at_any_depth():
    found = read({"o": {"parameters": {"a": {"from": "results/x"}}}})

    assert found.flat["o.a"].values == (Inherited("results/x", "o.a"),)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"a": 3}, r"parameters\.a: must be a mapping such as"),
        ({"a": [1, 2]}, r"parameters\.a: must be a mapping such as"),
        ([{"a": {"value": 1}}], "parameters: must be a mapping with at least one parameter"),
        ({True: {"value": 1}}, "a name is True in YAML 1.1; quote it"),
        ({"a": {"value": datetime.date(2020, 1, 1)}}, r"a: holds a date, which is no JSON; quote it"),
        ({"a": {"value": {1, 2}}}, r"parameters\.a: holds a set"),
        ({"a": {"parameters": {"b": {"value": 1}}}, "a.b": {"value": 2}}, "two parameters are called a.b"),
        ({"a": {"parameters": {}}}, r"parameters\.a\.parameters: must be a mapping with at least one"),
        ({"a": {"parameters": {"b": {"value": 1}}, "values": [1]}}, r"a: values does not go with"),
        ({"a": {"parameters": {"b": {"vlaue": 1}}}}, r"parameters\.a\.parameters\.b: give value, values"),
        ({"a": {"distribution": ["uniform"], "min": 0, "max": 1}}, r"parameters\.a\.distribution: unknown"),
        ({"a": {"distribution": "log_uniform", "min": 1, "max": 1000}}, "exponents, and exp.1000. is beyond"),
        ({"a": {"min": "low", "max": 1}}, r"parameters\.a\.min: must be a number, got 'low'"),
        ({"a": {"values": [1, 2], "probabilities": ["x", 1]}}, r"a\.probabilities: must be 2 numbers"),
    ],
)  # fmt: skip
def test_mistakes_have_their_place(raw, message):
    with pytest.raises(SpecError, match=message):
        read(raw)


def test_all_mistakes_are_told_at_once():
    raw = {"a": {"values": []}, "b": {"min": 2, "max": 1}, "o": {"parameters": {"c": {}}}}
    with pytest.raises(SpecError) as caught:
        read(raw)

    assert len(str(caught.value).splitlines()) == 3
