import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl_optuna.report import effects
from parsl_optuna.report.configurations import flatten
from scipy import stats

from tests.unit.report.test_configurations import trials as rows_of


def trials(points, values, **columns):
    return flatten(rows_of(points, values, **columns))


POINTS = [{"a": a, "b": b} for a in "xy" for b in (1.5, 2.5, 3.5)]
VALUES = [1.0, 2.0, 3.0, 11.0, 12.0, 13.0]


def test_a_value_by_value_comparison_has_means_intervals_and_a_test():
    rows = trials(POINTS, VALUES)

    table = effects.effects(rows, ["objective"])

    x, y = table[table["parameter"] == "a"].to_dict("records")
    assert (x["value"], x["estimate"], x["n"]) == ("x", 2.0, 3)
    low, high = stats.t.interval(0.95, 2, loc=2.0, scale=1 / math.sqrt(3))
    assert (x["low"], x["high"]) == (pytest.approx(low), pytest.approx(high))
    assert x["p"] == y["p"]
    assert x["p_holm"] == pytest.approx(min(1.0, 2 * x["p"]))  # b is tested too


def test_a_continuous_parameter_has_a_rank_correlation():
    stream = np.random.default_rng(0)
    x, noise = stream.random(50), stream.random(50)
    rows = trials([{"a": v, "b": w} for v, w in zip(x, noise, strict=True)], -(x**3))

    found = effects.effects(rows, ["objective"]).set_index("parameter")

    assert found.loc["a", "estimate"] == pytest.approx(-1.0)
    assert found.loc["a", "p_holm"] < 1e-6
    assert found.loc["a", "shape"] == "falls"
    assert found.loc["b", "low"] < 0 < found.loc["b", "high"]


def test_failed_trials_and_what_does_not_vary_are_left_out():
    rows = trials([{"a": k, "b": 1} for k in "xy"], [1.0, 2.0], state=["ok", "failed"])

    assert effects.effects(rows, ["objective"]).empty


def test_the_mean_over_seeds_is_the_unit_of_an_effect():
    points = [{"a": a, "b": b, "seed": s} for a in "xy" for b in range(3) for s in range(4)]
    values = [point["b"] + 10 * (point["a"] == "y") + 0.1 * point["seed"] for point in points]

    found = effects.effects(trials(points, values), ["objective"])

    assert found[found["parameter"] == "a"]["n"].tolist() == [3, 3]
    assert set(found["parameter"]) == {"a", "b"}


def test_a_parameter_counts_only_where_it_has_an_effect():
    """The folded default of the other strategy once made a parameter significant that had no effect."""
    points = [
        {"pruning_strategy": strategy, "plummet_threshold": 0.05, "percentile": 0.05} | own
        for strategy, own in [("lognorm", {"percentile": p}) for p in (0.05, 0.1, 0.2)]
        + [("plummet", {"plummet_threshold": t}) for t in (0.02, 0.05, 0.1)]
    ]
    values = [10.0, 10.0, 10.0, 1.0, 1.1, 0.9]

    found = effects.effects(trials(points, values, task="lvae", method="lvae"), ["objective"])

    assert found[found["parameter"] == "percentile"]["estimate"].tolist() == [10.0, 10.0, 10.0]
    assert found[found["parameter"] == "plummet_threshold"]["n"].tolist() == [1, 1, 1]


def test_trials_of_a_sampler_that_learns_are_not_tested():
    searched = trials(POINTS, VALUES, asked_by="search")

    adaptive = effects.effects(searched, ["objective"])
    random = effects.effects(searched, ["objective"], sampler_learns=False)
    fixed = effects.effects(trials(POINTS, VALUES, asked_by="fixed"), ["objective"])

    assert adaptive["p"].isna().all()
    assert set(adaptive["note"]) == {effects.ADAPTIVE}
    assert random["p"].notna().all()
    assert fixed["p"].notna().all()


def test_tests_are_corrected_for_all_of_the_table():
    stream = np.random.default_rng(1)
    points = [{"a": x, "b": y} for x, y in stream.random((30, 2))]
    rows = trials(points, stream.random(30), cost=stream.random(30))

    found = effects.effects(rows, ["objective", "cost"])

    assert len(found) == 4
    assert found["p_holm"].tolist() == pytest.approx(effects.holm(found["p"].to_numpy()).tolist())


def test_pairs_agree_in_everything_else_and_the_seed_is_the_unit():
    levels = itertools.product(range(6), (False, True), (1, 2))
    points = [{"sn": sn, "lr": lr, "seed": seed} for seed, sn, lr in levels]
    values = [p["seed"] * 10 + p["lr"] + p["sn"] * (1.0 + 0.1 * p["seed"]) for p in points]

    found = effects.pairs(trials(points, values), ["objective"]).set_index("parameter")

    pair, difference = found.loc["sn"], 1.0 + 0.1 * np.arange(6)
    assert (pair["first"], pair["second"], pair["seeds"], pair["matches"]) == ("false", "true", 6, 12)
    assert pair["difference"] == pytest.approx(difference.mean())
    low, high = stats.t.interval(0.95, 5, loc=difference.mean(), scale=stats.sem(difference))
    assert (pair["low"], pair["high"]) == (pytest.approx(low), pytest.approx(high))
    assert pair["d_z"] == pytest.approx(difference.mean() / difference.std(ddof=1))
    assert pair["p_t"] == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
    assert pair["p_wilcoxon"] == pytest.approx(stats.wilcoxon(difference).pvalue)


def test_two_strategies_are_paired_whatever_they_alone_have():
    default = {"plummet_threshold": 0.05, "percentile": 0.05}
    own = [
        {"pruning_strategy": "plummet", "plummet_threshold": 0.02},
        {"pruning_strategy": "plummet", "plummet_threshold": 0.1},
        {"pruning_strategy": "lognorm", "percentile": 0.05},
    ]
    points = [default | one | {"lr": lr, "seed": seed} for seed in (1, 2) for lr in (1, 2) for one in own]
    values = [p["seed"] + p["lr"] + (p["pruning_strategy"] == "plummet") for p in points]

    found = effects.pairs(trials(points, values, task="lvae", method="lvae"), ["objective"])

    (pair,) = found[found["parameter"] == "pruning_strategy"].to_dict("records")
    assert (pair["first"], pair["second"]) == ("lognorm", "plummet")
    assert (pair["seeds"], pair["matches"]) == (2, 4)
    assert pair["difference"] == pytest.approx(1.0)


def test_any_two_of_several_values_are_compared():
    points = [{"a": a, "seed": seed} for a in "xyz" for seed in range(3)]

    found = effects.pairs(trials(points, list(np.arange(9.0))), ["objective"])

    assert found[["first", "second"]].to_numpy().tolist() == [["x", "y"], ["x", "z"], ["y", "z"]]


def test_differences_that_differ_by_rounding_alone_are_not_tested():
    points = [{"a": a, "seed": seed} for seed in range(4) for a in (1, 2)]
    values = [0.1 * p["seed"] + 0.3 * p["a"] for p in points]

    (pair,) = effects.pairs(trials(points, values), ["objective"]).to_dict("records")

    assert pair["difference"] == pytest.approx(0.3)
    assert math.isnan(pair["d_z"])
    assert math.isnan(pair["p_t"])


def test_values_that_hold_a_separator_are_not_mixed_up():
    """Joined by a bar, ("x|y", "z") and ("x", "y|z") would be one."""
    points = [{"a": 1, "b": "x|y", "c": "z"}, {"a": 2, "b": "x", "c": "y|z"}]

    assert "a" not in set(effects.pairs(trials(points, [1.0, 2.0]), ["objective"]).get("parameter", []))


def test_a_single_seed_has_a_difference_and_no_test():
    (pair,) = effects.pairs(trials([{"a": 1}, {"a": 2}], [1.0, 4.0]), ["objective"]).to_dict("records")

    assert (pair["seeds"], pair["difference"]) == (1, 3.0)
    assert math.isnan(pair["p_t"])
    assert math.isnan(pair["low"])


def test_without_partners_there_is_no_pair():
    rows = trials([{"sn": False, "lr": 1}, {"sn": True, "lr": 2}], [1.0, 2.0])

    assert effects.pairs(rows, ["objective"]).empty


def test_holm_is_the_textbook_example():
    found = effects.holm(np.array([0.01, 0.04, 0.03, math.nan]))

    assert found[:3] == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(found[3])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_corrected_values_keep_their_order_and_are_never_smaller(values):
    p = np.array(values, dtype=float)
    found = effects.holm(p)

    assert (found >= p - 1e-15).all()
    assert (found <= 1).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def test_outcomes_are_counted_by_the_tasks_own_words():
    rows = trials([{"a": i} for i in range(4)], 1.0, state=["ok", "ok", "failed", "ok"])

    found = effects.outcomes(rows.assign(verdict=["good", "no_pruning", None, "good"]))

    assert found.set_index("how")["trials"].to_dict() == {"good": 2, "no_pruning": 1, "failed": 1}
