import re

from tests.unit.report.test_analysis import analysed
from tests.unit.report.test_configurations import trials


def test_an_a_b_test_says_by_how_much_and_how_clearly(tmp_path):
    points = [{"sn": sn, "seed": seed} for sn in (False, True) for seed in range(5)]
    values = [1.0, 1.1, 1.2, 1.3, 1.4, 3.0, 3.2, 3.3, 3.2, 3.5]

    first, second, *_ = analysed(tmp_path, trials(points, values)).findings

    assert first == "m on p: best acc 1.2, the mean of 5 seeds at sn=false."
    assert re.match(
        r"m on p: sn true against false, all else equal: acc differs by 2.04 \[.*over 5 seeds", second
    )
    assert "d_z" in second


def test_what_cannot_be_said_is_told_once_with_its_reason(tmp_path):
    points = [{"a": k} for k in range(3)]
    rows = trials(points * 2, [1.0, 2.0, 3.0] * 2, problem=["p"] * 3 + ["q"] * 3)

    found = analysed(tmp_path, rows).findings

    assert found[0].startswith("m on p: best acc 1, from a single seed")
    assert sum("no ranking" in one.lower() for one in found) == 1
    assert "(2 of 2 studies)" in next(one for one in found if "ranking" in one)
    assert found[-1] == "6 trials: 6 ok."


def test_where_every_trial_failed_the_reason_comes_first(tmp_path):
    rows = trials([{"a": 1}, {"a": 2}], [None, None], state="failed", reason="ValueError: no")

    found = analysed(tmp_path, rows.astype({"objective": float}))

    assert found.findings[0] == "No trial has an objective. Most often: failed: ValueError: no (2 trials)."
    assert found.tables["effects"].empty


def test_further_objectives_may_have_the_names_of_our_columns(tmp_path):
    points = [{"a": k % 2, "b": k} for k in range(6)]
    rows = trials(points, [1.0] * 6, configuration=[float(k) for k in range(6)])
    rows["metrics"] = [{"state": 10.0 * point["a"]} for point in points]

    found = analysed(tmp_path, rows, objectives=["acc", "state", "configuration"]).tables["effects"]

    means = found[(found["parameter"] == "a") & (found["metric"] == "state (metric)")]["estimate"]
    assert means.tolist() == [0.0, 10.0]
    assert "configuration (metric)" in set(found["metric"])


def test_an_effect_of_parameters_that_never_part_is_that_of_either(tmp_path):
    points = [{"b": k % 2, "a": 10 * (k % 2), "c": k} for k in range(12)]
    rows = trials(points, [point["a"] + 0.1 * (point["c"] % 5) for point in points])

    found = analysed(tmp_path, rows).findings

    assert any("p < 0.05): a or b (they vary only together)." in one for one in found)


def test_the_seeds_that_survived_do_not_make_a_configuration_the_best(tmp_path):
    points = [{"lr": lr, "seed": seed} for lr in (0.1, 1.0) for seed in range(3)]
    rows = trials(points, [0.5, 0.4, 0.6, None, None, 0.1], state=["ok"] * 3 + ["failed"] * 2 + ["ok"])

    analysis = analysed(tmp_path, rows.assign(reason="diverged"))

    assert analysis.findings[0] == "m on p: best acc 0.5, the mean of 3 seeds at lr=0.1."
    why = "lr=1 has acc 0.1, but on 1 seed, and 2 trials of it did not end ok: too few to be compared."
    assert f"m on p: {why}" in analysis.findings
    assert analysis.tables["best"]["not_ok"].tolist() == [0, 2]
