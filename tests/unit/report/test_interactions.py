import itertools
import math

import numpy as np
import pytest
from parsl_optuna.report.configurations import flatten
from parsl_optuna.report.interactions import interactions
from scipy import stats

from tests.unit.report.test_configurations import trials


def test_the_test_of_a_balanced_design_is_that_of_the_textbook():
    """Two-way analysis of variance with replicates in every cell, by sums of squares of cell means."""
    stream = np.random.default_rng(3)
    y = stream.normal(size=(2, 3, 5)) + np.array([[0, 1, 2], [0, -1, 0]])[:, :, None]
    cells = [{"a": i, "b": j, "filler": k} for i, j, k in itertools.product("uv", "xyz", range(5))]
    means = y.mean(2)
    product = means - means.mean(1, keepdims=True) - means.mean(0) + means.mean()
    added, rest = 5 * (product**2).sum(), ((y - means[:, :, None]) ** 2).sum()
    f = added / 2 / (rest / 24)

    rows = flatten(trials(cells, y.ravel()))
    found = interactions(rows.drop(columns="hp_filler"), "objective").iloc[0]

    assert (found["first"], found["second"], found["df"]) == ("a", "b", "2, 24")
    assert found["f"] == pytest.approx(f)
    assert found["p"] >= stats.f.sf(f, 2, 24) * (1 - 1e-9)  # at least: the ranks have to agree
    assert found["share"] == pytest.approx(added / (added + rest))


def test_many_values_are_a_line_in_their_ranks():
    stream = np.random.default_rng(0)
    points = [{"x": x, "y": y} for x, y in stream.random((40, 2))]
    product = [(p["x"] - 0.5) * (p["y"] - 0.5) for p in points]
    additive = [p["x"] + p["y"] for p in points]

    found, none = (
        interactions(flatten(trials(points, values)), "objective") for values in (product, additive)
    )

    assert found["p_holm"].iloc[0] < 1e-6
    assert none["p_holm"].iloc[0] > 0.01


def test_effects_that_multiply_do_not_depend_on_each_other():
    """On a scale of many decades the largest values alone would say that they do."""
    stream = np.random.default_rng(0)
    points = [{"x": x, "y": y} for x, y in stream.random((60, 2))]
    values = [np.exp(6 * p["x"] + 6 * p["y"] + 0.1 * stream.normal()) for p in points]

    found = interactions(flatten(trials(points, values)), "objective").iloc[0]

    assert found["f"] > 20
    assert found["p"] > 0.01


def test_an_effect_with_its_best_in_the_middle_is_no_interaction_of_what_varies_with_it():
    stream = np.random.default_rng(0)
    points = [
        {"x": x, "y": x + 0.3 * z} for x, z in zip(stream.random(60), stream.normal(size=60), strict=True)
    ]
    values = [10 * (p["x"] - 0.5) ** 2 + 0.1 * stream.normal() for p in points]

    assert interactions(flatten(trials(points, values)), "objective")["p"].iloc[0] > 0.01


def test_parameters_that_no_trial_has_together_do_not_interact():
    points = [{"a": k} for k in range(10)] + [{"b": k} for k in range(10)]

    assert interactions(flatten(trials(points, np.arange(20.0))), "objective").empty


def test_a_design_that_cannot_tell_is_left_out():
    points = [{"a": i, "b": j} for i, j in itertools.product("uv", "xy")]

    assert interactions(flatten(trials(points, [1.0, 2.0, 3.0, 5.0])), "objective").empty


def test_trials_of_a_sampler_that_learns_are_not_tested():
    stream = np.random.default_rng(0)
    points = [{"x": x, "y": y} for x, y in stream.random((40, 2))]
    rows = flatten(trials(points, stream.random(40), asked_by="search"))

    found = interactions(rows, "objective").iloc[0]

    assert math.isnan(found["p"])
    assert "learns" in found["note"]
    assert found["share"] >= 0
