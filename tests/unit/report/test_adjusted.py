import numpy as np
from parsl_optuna.report.configurations import flatten
from parsl_optuna.report.effects import effects

from tests.unit.report.test_configurations import trials


def own_effects(points, values):
    """The effects, a row per hyperparameter."""
    found = effects(flatten(trials(points, values)), ["objective"])
    return found.drop_duplicates("parameter").set_index("parameter")


def test_what_is_best_in_the_middle_of_a_range_has_an_effect():
    """As a learning rate has; its rank correlation is none."""
    stream = np.random.default_rng(0)
    points = [{"lr": lr, "other": other} for lr, other in stream.random((25, 2))]

    found = own_effects(points, [abs(p["lr"] - 0.5) + 0.05 * stream.normal() for p in points])

    assert abs(found.loc["lr", "estimate"]) < 0.4
    assert found.loc["lr", "p_holm"] < 0.001
    assert found.loc["lr", "shape"].startswith("least near 0.")
    assert found.loc["other", "p_holm"] > 0.05


def test_a_small_effect_is_seen_beside_a_large_one():
    stream = np.random.default_rng(0)
    points = [{"a": a, "k": k, "dead": dead} for a in range(1, 6) for k in "xy" for dead in (0, 1)]

    found = own_effects(points, [p["a"] + 0.5 * (p["k"] == "y") + 0.1 * stream.normal() for p in points])

    assert found.loc["k", "p_holm"] < 0.001
    assert found.loc["k", "shape"] == "least at x, greatest at y"
    assert found.loc["dead", "p_holm"] > 0.05


def test_a_value_is_compared_whatever_it_alone_has():
    """Momentum is of sgd alone; its own effect hides that of sgd in the means."""
    stream = np.random.default_rng(0)
    points = [{"opt": "sgd", "momentum": m} for m in stream.random(20)]
    points += [{"opt": "adam", "lr": lr} for lr in stream.random(20)]
    values = [abs(p.get("momentum", 0.5) - 0.9) + 0.2 * (p["opt"] == "adam") for p in points]

    found = own_effects(
        points, [value + 0.01 * noise for value, noise in zip(values, stream.normal(size=40), strict=True)]
    )

    assert found.loc["momentum", "shape"] == "falls"
    assert found.loc["momentum", "p_holm"] < 1e-3
    assert found.loc["opt", "p_holm"] < 1e-3
    assert found.loc["opt", "shape"] == "least at sgd, greatest at adam"


def test_a_few_equal_values_that_fit_by_chance_are_no_effect():
    """Two of four configurations failed, both with one value: one of three orders has this."""
    found = own_effects([{"a": a, "b": b} for a in "xy" for b in "uv"], [0.0, 0.0, 1.0, 1.0])

    assert found["p"].min() >= 1 / 3


def test_with_many_hyperparameters_a_clear_effect_is_still_seen():
    stream = np.random.default_rng(0)
    points = [{f"p{index}": value for index, value in enumerate(row)} for row in stream.random((30, 14))]

    found = own_effects(points, [p["p0"] + 0.1 * stream.normal() for p in points])

    assert found.loc["p0", "p_holm"] < 1e-6
    assert found.drop("p0")["p_holm"].min() > 0.05


def test_a_metric_that_is_the_same_everywhere_is_not_tested():
    assert own_effects([{"a": a, "b": b} for a in "xy" for b in "uv"], [1.0] * 4)["p"].isna().all()
