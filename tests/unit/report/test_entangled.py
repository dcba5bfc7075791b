import numpy as np
import pytest
from parsl_optuna.report.configurations import flatten, means
from parsl_optuna.report.effects import effects
from parsl_optuna.report.entangled import entanglement
from parsl_optuna.report.importance import importances

from tests.unit.report.test_configurations import trials as rows_of


def trials(points, values):
    return flatten(rows_of(points, values))


def units(points, values):
    return means(trials(points, values), "objective")


STREAM = np.random.default_rng(3)
NOISE = STREAM.normal(size=40)


def test_parameters_of_a_grid_are_no_partners():
    points = [{"a": a, "b": b, "c": c} for a in "xy" for b in (1, 2, 3) for c in (0.5, 0.7)]

    found = units(points, list(range(12)))

    assert [entanglement(found, name).names for name in ("hp_a", "hp_b", "hp_c")] == ["", "", ""]


@pytest.mark.parametrize("other", [lambda a: a, lambda a: "low" if a < 3 else "high", lambda a: -2.0 * a])
def test_what_follows_from_another_one_cannot_be_told_from_it(other):
    values = [1, 2, 3, 4] * 4
    points = [{"a": a, "b": other(a), "c": index} for index, a in enumerate(values)]

    found = units(points, NOISE[:16])

    assert (entanglement(found, "hp_b").names, entanglement(found, "hp_b").is_determined) == ("a", True)
    assert not entanglement(found, "hp_c").is_determined


def test_a_scale_follows_from_another_scale():
    points = [{"a": a, "b": a**3} for a in STREAM.random(20)]

    found = entanglement(units(points, NOISE[:20]), "hp_a")
    assert (found.names, found.is_determined) == ("b", True)


def test_a_parameter_that_merely_varies_with_the_one_that_matters_has_no_effect():
    """A list of points in which both mostly grow together; only *a* is in the objective."""
    a = STREAM.random(40)
    b = a + 0.15 * STREAM.normal(size=40)
    rows = trials([{"a": x, "b": y} for x, y in zip(a, b, strict=True)], a + 0.02 * NOISE)

    found = effects(rows, ["objective"]).set_index("parameter")

    assert found["varies_with"].to_dict() == {"a": "b", "b": "a"}
    assert found.loc["a", "p_holm"] < 1e-6
    assert found.loc["b", "estimate"] > 0.7  # the correlation is there,
    assert found.loc["b", "p_holm"] > 0.05  # but is that of a


def test_an_effect_of_groups_is_not_one_of_their_members():
    """Each value of *a* belongs to one of *b*, on which alone the objective depends."""
    points = [{"a": k % 6, "b": k % 2, "c": k} for k in range(36)]
    rows = trials(points, [point["b"] + 0.1 * noise for point, noise in zip(points, NOISE, strict=False)])

    found = effects(rows, ["objective"]).drop_duplicates("parameter").set_index("parameter")

    assert found.loc["a", "p_holm"] > 0.05
    assert found.loc["b", "p_holm"] < 1e-3
    assert found.loc["b", "note"] == "varies only together with a: cannot be told apart"


def test_no_effect_is_found_where_there_is_none_however_entangled():
    hits = 0
    for seed in range(80):
        stream = np.random.default_rng(seed)
        a = stream.random(16)
        points = [{"a": x, "b": x + 0.2 * y} for x, y in zip(a, stream.normal(size=16), strict=True)]
        found = effects(trials(points, stream.normal(size=16)), ["objective"])
        hits += bool((found["p_holm"] < 0.05).any())

    assert hits <= 11  # 4 expected at most; more than 11 has a chance of 0.1 %


def test_the_forest_says_what_it_cannot_tell_apart():
    stream = np.random.default_rng(0)
    points = [{"a": a, "b": -a, "c": c} for a, c in stream.random((40, 2))]

    found = importances(trials(points, [one["a"] for one in points]), ["objective"]).set_index("parameter")

    assert found.loc["a", "note"] == "varies only together with b: cannot be told apart"
    assert found.loc["c", "note"] == ""
