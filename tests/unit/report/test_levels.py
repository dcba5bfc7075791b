import numpy as np
import pytest
from parsl_optuna.report.configurations import flatten
from parsl_optuna.report.levels import levels

from tests.unit.report.test_configurations import trials

POINTS = [{"a": a, "b": b, "seed": s} for a in "xy" for b in (1, 2, 3) for s in (1, 2)]
VALUES = np.array([1, 3, 4, 4, 9, 5, 0, 2, 6, 8, 1, 1], dtype=float)


def test_quartiles_are_over_configurations_and_the_spread_over_seeds_is_pooled():
    found = levels(flatten(trials(POINTS, VALUES)), "objective").set_index(["parameter", "value"])

    x = found.loc[("a", "x")]
    assert [x["low"], x["median"], x["high"]] == np.quantile([2.0, 4.0, 7.0], [0.25, 0.5, 0.75]).tolist()
    pooled = np.sqrt(np.mean([np.var(VALUES[i : i + 2], ddof=1) for i in (0, 2, 4)]))
    assert x["sd_seeds"] == pytest.approx(pooled)
    assert (x["configurations"], x["trials"], x["ok"]) == (3, 6, 1.0)


def test_failures_count_for_the_value_under_which_they_happened():
    state = ["failed" if point["a"] == "y" and point["seed"] == 2 else "ok" for point in POINTS]
    verdict = ["good" if value < 5 else "poor" for value in VALUES]

    found = levels(flatten(trials(POINTS, VALUES, state=state)).assign(verdict=verdict), "objective")

    y = found.set_index(["parameter", "value"]).loc[("a", "y")]
    assert (y["trials"], y["ok"]) == (6, 0.5)
    assert y["verdicts"] == "2 good, 1 poor"
    assert np.isnan(y["sd_seeds"])


def test_a_scale_is_not_listed_value_by_value():
    rows = flatten(trials([{"lr": k} for k in range(9)], 1.0))

    assert levels(rows, "objective").empty
