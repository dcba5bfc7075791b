import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from parsl_optuna.study.search.climb import Climber, log_improvement
from parsl_optuna.study.search.cube import Cube
from scipy.integrate import quad
from scipy.stats import norm


@pytest.mark.parametrize("z", [-6.0, -2.0, -1.0001, -0.9999, 0.0, 3.0])
def test_the_improvement_is_its_integral(z):
    """The improvement of a normal value of mean 1 and deviation 2 below 1 + 2 z."""
    best = 1.0 + 2.0 * z
    integral, _ = quad(lambda t: (best - 1.0 - 2.0 * t) * norm.pdf(t), -np.inf, z, epsabs=0.0)

    assert log_improvement(np.array(1.0), np.array(2.0), best) == pytest.approx(np.log(integral), rel=1e-6)


def test_far_below_it_stays_finite_and_ordered():
    found = log_improvement(np.array([10.0, 100.0, 1e4]), np.ones(3), 0.0)

    assert np.isfinite(found).all()
    assert (np.diff(found) < 0).all()


SPACE = {
    "x": FloatDistribution(0.0, 1.0),
    "k": IntDistribution(0, 9),
    "kind": CategoricalDistribution(("a", "b", "c")),
}


def peak(rows):
    return -((rows[:, 0] - 0.3) ** 2) - np.abs(rows[:, 1] - 7 / 9) - (rows[:, 2] != 1)


def slope(row, free):
    return float(peak(row[None, :])[0]), np.array([-2.0 * (row[0] - 0.3)])


def climbed(seen=(), held=None):
    cube = Cube(SPACE)
    climber = Climber(cube, cube.encode(seen), peak, slope, held or {})
    row = climber.best(np.empty((0, 3)), np.random.default_rng(0))
    return None if row is None else cube.decode(row)


def test_the_top_is_found():
    assert climbed() == {"x": pytest.approx(0.3, abs=1e-3), "k": 7, "kind": "b"}


def test_what_is_held_stays():
    found = climbed(held={1: 2 / 9})

    assert found == {"x": pytest.approx(0.3, abs=1e-3), "k": 2, "kind": "b"}


def test_what_was_seen_is_left_out():
    cube = Cube({"k": IntDistribution(0, 3)})
    seen = cube.encode([{"k": 3}, {"k": 2}])
    climber = Climber(cube, seen, lambda rows: rows[:, 0], slope, {})

    found = climber.best(cube.known, np.random.default_rng(0))

    assert cube.decode(found) == {"k": 1}


def test_nothing_is_found_where_all_was_seen():
    cube = Cube({"k": IntDistribution(0, 1)})
    climber = Climber(cube, cube.encode([{"k": 0}, {"k": 1}]), lambda rows: rows[:, 0], slope, {})

    assert climber.best(cube.known, np.random.default_rng(0)) is None
