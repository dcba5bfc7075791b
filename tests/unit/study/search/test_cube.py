import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from parsl_optuna.study.search.cube import Axis, Cube

AXES = [
    FloatDistribution(-2.0, 3.0),
    FloatDistribution(1e-6, 10.0, log=True),
    FloatDistribution(0.0, 1.0, step=0.25),
    FloatDistribution(1.5, 1.5),
    IntDistribution(1, 9, step=2),
    IntDistribution(1, 1000, log=True),
    IntDistribution(3, 3),
    CategoricalDistribution((True, 1, "1", None, 2.5)),
]


@pytest.mark.parametrize("distribution", AXES, ids=str)
@given(unit=st.floats(0.0, 1.0, exclude_max=True))
def test_a_placed_value_is_one_of_the_distribution_and_comes_back(distribution, unit):
    axis = Axis(distribution)

    coordinate = float(axis.place(np.array([unit]))[0])
    value = axis.decode(coordinate)

    assert distribution._contains(distribution.to_internal_repr(value))
    assert axis.encode(value) == pytest.approx(coordinate, abs=1e-9)
    again = axis.decode(axis.encode(value))
    assert type(again) is type(value)
    assert again == (pytest.approx(value) if isinstance(value, float) else value)


@pytest.mark.parametrize("distribution", AXES, ids=str)
def test_neighbours_are_other_values(distribution):
    axis = Axis(distribution)
    coordinate = float(axis.place(np.array([0.4]))[0])

    values = [axis.decode(float(one)) for one in axis.neighbours(coordinate)]

    assert axis.decode(coordinate) not in [
        one for one in values if type(one) is type(axis.decode(coordinate))
    ]
    assert all(distribution._contains(distribution.to_internal_repr(one)) for one in values)
    assert len(values) == axis.n_values - 1 if 0 < axis.n_values <= 32 else True


def test_the_size_is_the_number_of_points():
    assert Cube({"a": AXES[2], "b": AXES[4], "c": AXES[7]}).size == 5 * 5 * 5
    assert Cube({"a": AXES[0]}).size == math.inf


def test_a_category_that_is_gone_is_none_of_the_choices():
    assert Axis(CategoricalDistribution(("a", "b"))).encode("c") == -1.0


SPACE = {
    "kind": CategoricalDistribution(("near", "far")),
    "a": FloatDistribution(0.0, 1.0),
    "depth": IntDistribution(1, 6),
    "width_4": FloatDistribution(0.0, 1.0),
}
POINTS = [
    {"kind": "near", "a": 0.1, "depth": 2},
    {"kind": "far", "depth": 5, "width_4": 0.5},
    {"kind": "near", "a": 0.2, "depth": 4, "width_4": 0.3},
    {"kind": "far", "depth": 3},
]


def test_absence_is_told_by_the_parameter_that_explains_it_in_all_trials():
    cube = Cube(SPACE, POINTS)
    row = np.array([cube.axes[0].encode("far"), 0.5, cube.axes[2].encode(6), 0.5])

    (found,) = cube.without_absent(row[None, :])

    assert np.isnan(found[1])  # of kind near only
    assert found[3] == 0.5  # 6 was never seen, 5 is nearest to it


def test_what_is_absent_is_not_a_parameter_of_the_point():
    cube = Cube(SPACE, POINTS)

    rows = cube.place(np.random.default_rng(0).random((50, 4)))

    assert all(("a" in point) == (point["kind"] == "near") for point in map(cube.decode, rows))


def test_a_neighbour_across_the_condition_is_complete():
    cube = Cube(SPACE, POINTS)

    points = [cube.decode(row) for row in cube.neighbours(cube.known[1])]

    crossed = [point for point in points if point["kind"] == "near"]
    assert crossed
    assert all("a" in point for point in crossed)


def test_the_model_sees_no_gap():
    cube = Cube(SPACE, POINTS)

    assert np.isfinite(cube.for_model(cube.known)).all()
    assert cube.for_model(cube.known).shape == (4, len(cube.choices))
