import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.space import Categorical, Float, Int, Space, uneven


def values_of(dimension):
    return [point["x"] for point in Space({"x": dimension}).points()]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(1.0, 0.1), "low 1.0 is above high 0.1; swap them"),
        (lambda: Float(0.0, 1.0, log=True), "a log scale needs low above 0"),
        (lambda: Float(0.0, math.inf), "bounds must be finite"),
        (lambda: Int(1, 5, step=0), "step 0 must be at least 1"),
        (lambda: Int(1, 8, step=2, log=True), "low must be a multiple of step, and 1 is none of 2"),
        (lambda: Float(0.25, 8.0, log=True, step=0.1), "low must be a multiple of step"),
        (lambda: Float(0.0, 1.0, step=0.0), "step 0.0 must be a number above 0"),
        (lambda: Float(0.0, 1.0, step=math.inf), "step inf must be a number above 0"),
        (lambda: Categorical(()), "choices is empty"),
        (lambda: Categorical((1, 1)), "names a value twice"),
        (lambda: Categorical((1, 1.0, True)), "1 and 1.0 are one value"),
        (lambda: Float(-1e308, 1e308), "no number holds their distance"),
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


@given(
    st.decimals(-10, 10, places=2), st.decimals("0.01", 3, places=3), st.integers(0, 50), st.integers(0, 50)
)
def test_steps_have_the_values_that_a_person_would_write(low, step, n_steps, index):
    dimension = Float(float(low), float(low + n_steps * step), step=float(step))
    written = float(low + min(index, n_steps) * step)

    assert dimension.contains(written)
    assert written in values_of(dimension)
    assert dimension.stored(float(low) + min(index, n_steps) * float(step)) == written


def test_a_sum_of_floating_point_numbers_is_the_value_that_is_meant():
    dimension = Float(0.0, 1.0, step=0.1)

    assert dimension.stored(0.1 + 0.2) == 0.3 != 0.1 + 0.2
    assert not dimension.contains(0.1 + 0.2)
    assert dimension.stored(0.35) == 0.35
    assert not dimension.contains(0.35)


def test_steps_on_a_log_scale_are_multiples():
    assert values_of(Int(4, 12, step=4, log=True)) == [4, 8, 12]
    assert values_of(Float(0.1, 0.4, step=0.1, log=True)) == [0.1, 0.2, 0.3, 0.4]


def test_a_bound_that_is_no_step_is_told():
    assert uneven(Float(0.0, 1.0, step=0.3)) == (
        "high 1 is not low 0 and a whole number of steps of 0.3; the last value is 0.9"
    )
    assert "the last value is 9" in str(uneven(Int(0, 10, step=3)))
    assert uneven(Float(0.0, 0.9, step=0.3)) is None
    assert uneven(Int(0, 9, step=3)) is None
    assert uneven(Float(0.0, 1.0)) is None
    assert uneven(Categorical((1, 2))) is None


def test_a_condition_may_name_a_step():
    space = Space({"x": Float(0, 1, step=0.5), "n": Int(1, 2)}, {}, {"n": {"x": (0.5,)}})

    assert space.size() == 4
    assert len(list(space.points())) == 4


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


NESTED = Space(
    {
        "momentum": Categorical((0.0, 0.9)),
        "optimizer": Categorical(("sgd", "adam", "lbfgs")),
        "layers": Int(1, 4),
        "width_2": Int(8, 16, 8),
        "nesterov": Categorical((True, False)),
    },
    {},
    {
        "momentum": {"optimizer": ("sgd",)},
        "width_2": {"layers": (2, 3, 4)},
        "nesterov": {"momentum": (0.9,), "layers": (1,)},
    },
)


def test_a_point_has_no_value_for_an_inactive_parameter():
    point = {"optimizer": "adam", "layers": 1}

    assert NESTED.contains(point)
    assert not NESTED.contains(point | {"momentum": 0.9})
    assert not NESTED.contains({"optimizer": "sgd", "layers": 1})


def test_what_depends_on_an_inactive_parameter_is_inactive():
    assert NESTED.active({"optimizer": "adam", "layers": 1, "momentum": 0.9, "nesterov": True}) == {
        "optimizer": "adam",
        "layers": 1,
    }


def test_the_points_of_a_conditional_space_are_its_points_each_once():
    points = list(NESTED.points())

    # Layers 1 has one width, layers 2 to 4 have two: 7. Two optimizers of three have nothing more; sgd with
    # momentum 0.0 neither, with 0.9 nesterov at layers 1 alone: 8.
    assert len(points) == NESTED.size() == 7 * 2 + 7 + 8
    assert all(NESTED.contains(point) for point in points)
    assert len({tuple(sorted(point.items())) for point in points}) == len(points)


def test_a_continuous_parameter_counts_only_where_it_is_active():
    choice = Categorical(("a", "b"))

    assert Space({"k": choice, "x": Float(0, 1)}, {}, {"x": {"k": ("a",)}}).size() == math.inf
    assert Space({"k": choice, "x": Int(1, 10**9)}, {}, {"x": {"k": ("a",)}}).size() == 10**9 + 1


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"x": {"kimd": ("a",)}}, "x.when.kimd: is no other parameter that varies here; did you mean 'kind'"),
        ({"x": {"x": (1,)}}, "x.when.x: is no other parameter"),
        ({"x": {"kind": ("A",)}}, "x.when.kind: 'A' is none of its values"),
        ({"x": {"n": (7,)}}, r"x.when.n: 7 is none of its values; they are \[1, 3\]"),
        ({"x": {"kind": ()}}, "names no value"),
        ({"kind": {"x": (0.5,)}}, "needs a parameter with choices, steps or whole numbers"),
        ({"n": {"kind": ("a",)}, "kind": {"n": (1,)}}, "in a circle: n -> kind -> n"),
    ],
)
def test_impossible_conditions_are_refused(conditions, message):
    dimensions = {"x": Float(0, 1), "n": Int(1, 3), "kind": Categorical(("a", "b"))}

    with pytest.raises(SpecError, match=message):
        Space(dimensions, {}, conditions)


def test_steps_and_orders_are_described():
    space = Space({"x": Float(0, 1, step=0.3), "size": Categorical(("s", "m", "l"), ordered=True)})

    assert space.describe() == {"x": "[0, 0.9] step 0.3", "size": "{s < m < l}"}


def test_a_condition_is_described():
    assert NESTED.describe()["momentum"] == "{0.0, 0.9} when optimizer = sgd"
    assert NESTED.describe()["nesterov"] == "{True, False} when momentum = 0.9 and layers = 1"
