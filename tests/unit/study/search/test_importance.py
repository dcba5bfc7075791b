import random

from parsl_optuna.study.search.importance import importances


def test_what_matters_has_the_largest_share():
    stream = random.Random(1)
    points = [{"x": stream.random(), "y": stream.random(), "k": stream.choice("ab")} for _ in range(200)]
    found = importances(points, [(p["x"] - 0.5) ** 2 + 0.01 * p["y"] for p in points])

    assert next(iter(found)) == "x"
    assert found["x"] > 0.6
    assert abs(sum(found.values()) - 1) < 1e-9


def test_too_few_trials_say_nothing():
    assert importances([{"x": 1.0}] * 9, [1.0] * 9) == {}


def test_missing_values_and_equal_ones_are_no_trouble():
    points = [{"x": None if i % 3 else 1.0, "y": i % 2 == 0} for i in range(30)]

    assert set(importances(points, [float(i % 2) for i in range(30)])) == {"x", "y"}
