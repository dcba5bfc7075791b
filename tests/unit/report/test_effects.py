import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl_optuna.report import effects
from scipy import stats


def trials(points, values, **columns):
    rows = pd.DataFrame(
        {
            "hyperparams_json": [json.dumps(point) for point in points],
            "objective": values,
            "problem": "p",
            "method": "m",
            "state": "ok",
            "seed": 0,
        }
    )
    return effects.flatten(rows.assign(**columns))


def test_a_value_by_value_comparison_has_means_intervals_and_a_test():
    rows = trials([{"a": k} for k in "xxxyyy"], [1.0, 2.0, 3.0, 11.0, 12.0, 13.0])

    table = effects.effects(rows, ["objective"])

    x, y = table.to_dict("records")
    assert (x["value"], x["estimate"], x["n"]) == ("x", 2.0, 3)
    low, high = stats.t.interval(0.95, 2, loc=2.0, scale=1 / math.sqrt(3))
    assert (x["low"], x["high"]) == (pytest.approx(low), pytest.approx(high))
    assert x["p"] == y["p"] == pytest.approx(stats.kruskal([1, 2, 3], [11, 12, 13]).pvalue)
    assert x["p_holm"] == x["p"]


def test_a_continuous_parameter_has_a_rank_correlation():
    stream = np.random.default_rng(0)
    x, noise = stream.random(50), stream.random(50)
    rows = trials([{"a": v, "b": w} for v, w in zip(x, noise, strict=True)], -(x**3))

    found = effects.effects(rows, ["objective"]).set_index("parameter")

    assert found.loc["a", "estimate"] == pytest.approx(-1.0)
    assert found.loc["a", "p_holm"] < 1e-6
    assert found.loc["b", "low"] < 0 < found.loc["b", "high"]


def test_failed_trials_and_what_does_not_vary_are_left_out():
    rows = trials([{"a": k, "b": 1} for k in "xy"], [1.0, 2.0], state=["ok", "failed"])

    assert effects.effects(rows, ["objective"]).empty


def test_pairs_agree_in_everything_else():
    points = [{"sn": sn, "seed": seed} for seed in range(6) for sn in (False, True)]
    values = [seed * 10 + (1.0 + 0.1 * seed if point["sn"] else 0.0) for point, seed in
              zip(points, np.repeat(range(6), 2), strict=True)]  # fmt: skip

    (pair,) = effects.pairs(trials(points, values), ["objective"]).to_dict("records")

    difference = 1.0 + 0.1 * np.arange(6)
    assert (pair["first"], pair["second"], pair["n"]) == ("False", "True", 6)
    assert pair["difference"] == pytest.approx(difference.mean())
    assert pair["d_z"] == pytest.approx(difference.mean() / difference.std(ddof=1))
    assert pair["p_t"] == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
    assert pair["p_wilcoxon"] == pytest.approx(stats.wilcoxon(difference).pvalue)


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
    rows = trials([{"a": i} for i in range(4)], 1.0, state=["ok", "ok", "failed", "ok"],
                  outcome=["good", "no_pruning", None, "good"])  # fmt: skip

    found = effects.outcomes(rows).set_index("how")["trials"].to_dict()
    assert found == {"good": 2, "no_pruning": 1, "failed": 1}
