import numpy as np
from parsl_optuna.report.configurations import flatten
from parsl_optuna.report.importance import importances

from tests.unit.report.test_configurations import trials


def table(value, n=60, seed=0):
    """Trials at random points of three hyperparameters."""
    stream = np.random.default_rng(seed)
    points = [
        {"x": float(x), "kind": str(stream.choice(["a", "b"])), "z": float(z), "seed": 0}
        for x, z in stream.random((n, 2))
    ]
    return flatten(trials(points, [value(point) for point in points]))


def test_the_strongest_effect_comes_first_and_noise_is_near_zero():
    found = importances(table(lambda p: 3 * p["x"] + (p["kind"] == "a")), ["objective"])

    assert found["parameter"].tolist()[:2] == ["x", "kind"]
    shares = found.set_index("parameter")["importance"]
    assert shares["x"] > 3 * abs(shares["z"])
    assert found["r2"].iloc[0] > 0.7


def test_a_seed_is_no_hyperparameter():
    assert "seed" not in set(importances(table(lambda p: p["x"]), ["objective"])["parameter"])


def test_too_few_configurations_are_not_ranked():
    (row,) = importances(table(lambda p: p["x"], n=16), ["objective"]).to_dict("records")

    assert row["parameter"] == ""
    assert "16 configurations; 20 are needed" in row["note"]


def test_noise_is_not_ranked():
    stream = np.random.default_rng(3)

    (row,) = importances(table(lambda p: stream.random()), ["objective"]).to_dict("records")

    assert "nothing to rank" in row["note"]


def test_what_is_the_same_everywhere_is_not_ranked():
    (row,) = importances(table(lambda p: 1.0), ["objective"]).to_dict("records")

    assert "the same everywhere" in row["note"]
