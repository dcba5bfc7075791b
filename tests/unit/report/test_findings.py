import re

from parsl_optuna.report.analysis import analyse
from parsl_optuna.store.artifacts import ArtifactStore

from tests.unit.report.test_analysis import analysed, table_in
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


def test_values_beside_a_large_offset_are_told_apart(tmp_path):
    rows = trials([{"a": k} for k in range(5)], [1e9 + 0.25 * k for k in range(1, 6)])

    first, *_ = analysed(tmp_path, rows).findings

    assert first.startswith("m on p: best acc 1000000000.25, ")


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


def test_two_that_matter_only_together_are_told(tmp_path):
    points = [{"a": a, "b": b, "c": c} for a in (0, 1) for b in (0, 1) for c in range(9)]
    rows = trials(points, [float(p["a"] != p["b"]) + 0.01 * (7 * k % 11) for k, p in enumerate(points)])

    found = analysed(tmp_path, rows).findings

    assert any("clear effects on acc (corrected p < 0.05): none" in one for one in found)
    assert any(one.startswith("m on p: the effect of a on acc depends on b (corrected p ") for one in found)


def test_an_effect_says_which_way_it_goes_on_each_problem(tmp_path):
    points = [{"a": k / 12, "k": "xy"[k % 2]} for k in range(12)]
    values = [p["a"] + 2 * (p["k"] == "y") for p in points]
    rows = trials(points * 2, [*values, *(-value for value in values)], problem=["p"] * 12 + ["q"] * 12)

    found = " ".join(analysed(tmp_path, rows.assign(trial_id=[f"r_{k}" for k in range(24)])).findings)

    assert (
        "m on p: clear effects on acc (corrected p < 0.05): a (rises), k (least at x, greatest at y)."
        in found
    )
    assert (
        "m on q: clear effects on acc (corrected p < 0.05): a (falls), k (least at y, greatest at x)."
        in found
    )


def test_effects_on_a_further_objective_are_told(tmp_path):
    points = [{"a": k / 20} for k in range(20)]
    rows = trials(points, [float(7 * k % 20) for k in range(20)])
    rows["metrics"] = [{"size": 10.0 * point["a"]} for point in points]

    found = analysed(tmp_path, rows, objectives=["acc", "size"]).findings

    assert "m on p: clear effects on size (corrected p < 0.05): a (rises)." in found
    assert any("acc alone" in one and "size" in one for one in found)


def test_a_constant_objective_is_the_reason_that_is_told(tmp_path):
    found = analysed(tmp_path, trials([{"a": k % 2, "b": k} for k in range(12)], 1.0)).findings

    assert "Effects are not tested: the metric is the same everywhere." in found


def test_the_best_point_names_what_all_good_trials_agree_in(tmp_path):
    rows = trials([{"a": 1, "k": "x"}, {"a": 2, "k": "x"}, {"a": 1, "k": "y"}], [1.0, 2.0, None])

    found = analysed(tmp_path, rows.assign(state=["ok", "ok", "invalid"])).findings

    assert found[0] == "m on p: best acc 1, from a single seed at a=1  k=x."


def test_what_the_run_recommends_is_told_with_its_fresh_seeds(tmp_path):
    best = {"problem": "p", "method": "m", "confirmed": 1.5, "confirmed_on": 2, "confirmed_as": "acc"}
    same = best | {"trial_id": "r_0", "varied": {"a": 1}}
    other = best | {"trial_id": "r_1", "varied": {"a": 2}}
    path = table_in(tmp_path, trials([{"a": 1}, {"a": 2}], [1.0, 2.0]))
    store = ArtifactStore(tmp_path / "artifacts")

    alone = other | {"confirmed": None, "objective": 0.9}
    said = [analyse(path, store, chosen=[point]).findings for point in (same, other, alone)]

    assert "m on p: acc 1.5 on 2 fresh seeds of this point." in said[0]
    assert "m on p: the run recommends a=2: acc 1.5 on 2 fresh seeds of this point." in said[1]
    assert "m on p: the run recommends a=2: it goes by acc of a single trial, 0.9." in said[2]


def test_a_point_of_several_seeds_is_the_best_whichever_of_its_trials_stands_for_it(tmp_path):
    points = [{"a": k, "seed": seed} for k in (1, 2) for seed in range(3)]
    path = table_in(tmp_path, trials(points, [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]))
    store = ArtifactStore(tmp_path / "artifacts")
    point = {"problem": "p", "method": "m", "confirmed": None, "objective": 1.0, "varied": {"a": 1}}

    same, other = (
        analyse(path, store, chosen=[point | {"trial_id": one}]).findings for one in ("r_1", "r_4")
    )

    assert not any("recommends" in one for one in same)
    assert "m on p: the run recommends a=1: it goes by acc of 3 seeds, 1." in other
