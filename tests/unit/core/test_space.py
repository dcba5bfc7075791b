import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.space import Categorical, Float, Int, Space


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(1.0, 0.1), "low 1.0 is above high 0.1; swap them"),
        (lambda: Float(0.0, 1.0, log=True), "a log scale needs low above 0"),
        (lambda: Float(0.0, math.inf), "bounds must be finite"),
        (lambda: Int(1, 5, step=0), "step 0 must be at least 1"),
        (lambda: Int(1, 8, step=2, log=True), "exactly 1 on a log scale"),
        (lambda: Categorical(()), "choices is empty"),
        (lambda: Categorical((1, 1)), "names a value twice"),
    ],
)
def test_impossible_dimensions_are_refused(make, message):
    with pytest.raises(SpecError, match=message):
        make()


@given(st.integers(-20, 20), st.integers(0, 40), st.integers(1, 7), st.integers(-50, 80))
def test_an_int_contains_exactly_its_grid(low, width, step, value):
    dimension = Int(low, low + width, step)

    assert dimension.contains(value) == (value in range(low, low + width + 1, step))
    assert dimension.contains(float(value)) == dimension.contains(value)


def test_a_bool_is_not_a_number():
    assert not Int(0, 1).contains(True)
    assert not Float(0, 1).contains(True)
    assert not Categorical((0, 1)).contains(True)
    assert Categorical((True, False)).contains(True)


def test_a_space_contains_complete_points_only():
    space = Space({"a": Float(0, 1)}, {"b": 3})

    assert space.contains({"a": 0.5, "b": 3})
    assert not space.contains({"a": 0.5})
    assert not space.contains({"a": 0.5, "b": 4})
    assert not space.contains({"a": 0.5, "b": 3, "c": 1})


def test_sizes():
    assert Space({"a": Int(1, 9, 2), "b": Categorical(("x", "y"))}).size() == 10
    assert Space({"a": Float(0, 1), "b": Int(1, 2)}).size() == math.inf
    assert Space({"a": Float(1, 1), "b": Int(1, 2)}).size() == 2
    assert Space().size() == 1
