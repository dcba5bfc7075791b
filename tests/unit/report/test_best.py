import io
from dataclasses import replace

import pytest
from parsl_optuna.core.load import structure
from parsl_optuna.core.spec import RunSpec
from parsl_optuna.report.best import best_points, best_tables, comparisons, doubts
from parsl_optuna.study.plan.plans import Baseline
from parsl_optuna.study.plan.tuning import plan_run
from rich.console import Console

from tests.toyrun import drive, toy_plan


def test_the_best_point_is_the_least_and_its_fresh_error_stands_beside_it(tmp_path):
    result = drive(toy_plan(1.0, confirm=3), tmp_path)

    point = best_points(result)[0]

    trials = result.studies[0]
    assert point["objective"] == min(e.values[0] for e in trials.ended.values())
    fresh = [e.values[0] for e in trials.state.confirmed.values()]
    assert point["confirmed"] == pytest.approx(sum(fresh) / 3)
    assert point["confirmed_se"] > 0
    assert point["confirmed_on"] == 3
    assert point["varied"].keys() == {"x", "k", "kind"}


def test_hyperparameters_without_effect_on_the_best_point_are_not_named(tmp_path):
    plan = toy_plan(1.0)
    task = replace(plan.task, irrelevant=lambda method, params: frozenset({"k"} if "x" in params else ()))

    point = best_points(drive(replace(plan, task=task), tmp_path))[0]

    assert point["varied"].keys() == {"x", "kind"}
    assert "k" in point["hyperparams"]


def shown(points):
    console = Console(width=160, record=True, file=io.StringIO())
    for table in best_tables(points):
        console.print(table)
    return console.export_text()


def on_fresh_seeds(folder, line, **optuna):
    """Drive a function whose *line* sees which replicate it is: the first seed that it saw is that of 0."""
    path = folder / "noisy.py"
    path.write_text(
        "from pathlib import Path\n\n"
        "def noisy(x, seed, first):\n"
        "    Path(first).exists() or Path(first).write_text(str(seed))\n"
        "    is_fresh = int(Path(first).read_text()) != seed\n"
        f"    {line}\n"
        "    return {'loss': x * x, 'good': 0.0 if is_fresh else 1.0}\n"
    )
    raw = {
        "task": "function",
        "problems": [{"function": f"{path}:noisy", "args": {"first": str(folder / "seed.txt")}}],
        "search_space": {"function": {"x": {"choices": [1.0]}}},
        "optuna": {"max_trials": 1, "batch_size": 1, "confirm": 2} | optuna,
    }
    return best_points(drive(plan_run(structure(RunSpec, raw, "$"), "$"), folder / "artifacts"))


def test_a_choice_that_fails_on_fresh_seeds_is_told(tmp_path):
    points = on_fresh_seeds(tmp_path, "assert not is_fresh, 'unlucky'")

    assert (points[0]["confirmed"], points[0]["confirmed_on"]) == (None, 0)
    assert "(n=0 of 2)" in shown(points)
    (line,) = doubts(points)
    assert "the selected point failed on 2 of 2 fresh seeds: AssertionError: unlucky" in line


def test_a_choice_that_misses_a_constraint_on_fresh_seeds_is_told(tmp_path):
    points = on_fresh_seeds(tmp_path, "pass", constraints={"good": ">= 0.5"})

    assert points[0]["feasible"]
    (line,) = doubts(points)
    assert "the selected point misses a constraint on 2 of 2 fresh seeds" in line


def test_a_choice_that_fresh_seeds_confirm_has_no_doubts(tmp_path):
    assert doubts(on_fresh_seeds(tmp_path, "pass")) == []


def test_a_rank_is_not_called_the_metric_that_its_fresh_seeds_come_to(tmp_path):
    plan = toy_plan(1.0, 2.0, across="rank", confirm=1)

    (point,) = points = best_points(drive(plan, tmp_path))

    assert (point["leading"], point["confirmed_as"]) == ("rank of error", "error")
    assert point["spread"] is None
    assert f"error {point['confirmed']:.4g} (n=1)" in shown(points)


def test_a_study_without_success_has_no_best(tmp_path):
    assert best_points(drive(toy_plan({"truth": 1.0, "trouble": "all"}), tmp_path)) == []


def test_the_front_is_listed_with_two_objectives_only(tmp_path):
    one = best_points(drive(toy_plan(), tmp_path / "a"))[0]
    two = best_points(drive(toy_plan(objectives=["error", "cost"]), tmp_path / "b"))[0]

    assert one["front"] == []
    fresh = {"confirmed", "confirmed_on", "fresh_failed"}
    assert {"trial_id", "objectives"} | fresh == two["front"][0].keys()


def test_tables_show_every_study(tmp_path):
    plan = toy_plan(1.0, 2.0, methods=("guess", "other"), objectives=["error", "cost"])
    points = best_points(drive(plan, tmp_path))
    console = Console(width=160, record=True, file=io.StringIO())

    for table in best_tables(points):
        console.print(table)

    text = console.export_text()
    for point in points:
        assert point["trial_id"] in text
        assert point["pid"] in text
        assert all(member["trial_id"] in text for member in point["front"])


def compared(chosen, preset, statuses=("ok", "ok"), se=0.02):
    """Return a best point of score *chosen* beside its preset."""
    estimates = [{"se": se, "statuses": {status: 2}} for status in statuses]
    baseline = {"name": "preset", "confirmed": preset, "confirmed_on": 2, "estimate": estimates[1]}
    return {
        "method": "sgld", "problem": "small", "confirmed": chosen, "confirmed_on": 2,
        "estimate": estimates[0], "baselines": [baseline],
    }  # fmt: skip


def test_a_choice_that_does_not_beat_its_preset_is_told_in_a_sentence():
    (line,) = comparisons([compared(0.10, 0.12), compared(0.10, 0.30)])

    assert "sgld on small" in line
    assert "0.1 against 0.12" in line


@pytest.mark.parametrize(
    ("counts", "n_lines"), [({"ok": 1, "uncertain": 2}, 1), ({"ok": 2, "uncertain": 1}, 0)]
)
def test_a_choice_that_is_mostly_not_ok_is_told_in_a_sentence(counts, n_lines):
    point = compared(0.10, 0.30)
    point["estimate"]["statuses"] = counts

    lines = comparisons([point])

    assert lines == ["sgld on small: 1 of 3 trials of the choice are ok (uncertain)"][:n_lines]


def test_a_table_with_estimates_fits_80_columns_and_states_differences_with_their_intervals():
    seen = {
        "value": 1.5136, "se": 0.03, "statuses": {"not_converged": 2},
        "reference": 1.54, "reference_se": 0.04, "reference_status": "ok",
    }  # fmt: skip
    again = {"confirmed": 0.078191, "confirmed_on": 2, "estimate": seen, "sec": 3.14}
    point = {
        **again, "pid": "p_1", "problem": "small", "method": "mclmc", "trial_id": "r_1", "leading": "score",
        "objective": 0.041334, "varied": {"L": 0.5}, "baselines": [{"name": "preset", **again}], "front": [],
    }  # fmt: skip
    console = Console(width=80, record=True, file=io.StringIO())

    for table in best_tables([point]):
        console.print(table)

    text = console.export_text()
    assert "reference 1.54 ± 0.04" in text
    assert text.count("-0.03 ± 0.10") == 2  # 1.96 hypot(0.03, 0.04)
    assert text.count("0.07819 (n=2)") == text.count("not_converged") == 2
    assert "…" not in text


@pytest.mark.parametrize(
    ("value", "se", "cell"),
    [
        (1.5535, 0.02, "+0.01 ± 0.04"),
        (3.7, 0.1, "+2.16 ± 0.20"),
        (1.5435, 0.002, "+0.004 ± 0.004"),
        (99.0, 20.0, "+97 ± 39"),
        (1.54, 2e-15, "+0.0000 ± 0.0000"),
    ],
)
def test_a_difference_has_as_many_digits_as_its_interval_tells(value, se, cell):
    estimate = {"value": value, "se": se, "statuses": {"ok": 3}, "reference": 1.54, "reference_se": 0.0}
    point = {
        "confirmed": 0.028711, "confirmed_on": 2, "estimate": estimate, "sec": 1.23, "pid": "p_1",
        "problem": "small", "method": "mclmc", "trial_id": "r_1", "leading": "score", "objective": 0.024041,
        "varied": {}, "front": [], "baselines": [],
    }  # fmt: skip
    estimate["reference_status"] = "ok"
    console = Console(width=80, record=True, file=io.StringIO())

    console.print(best_tables([point])[0])

    assert cell in (text := console.export_text())
    assert "…" not in text


def test_a_choice_that_alone_is_ok_needs_no_better_score():
    assert comparisons([compared(0.10, 0.08, statuses=("ok", "uncertain"))]) == []


def test_the_choice_stands_beside_its_preset_and_what_needs_no_tuning(tmp_path):
    """Both run on the replicates that the choice is confirmed on; the second only once per problem."""
    plan = toy_plan(1.0, methods=("guess", "other"), confirm=2)
    baselines = tuple(
        Baseline(name, method, plan.studies[0].base)
        for name, method in (("preset", "guess"), ("auto", "other"))
    )
    plan = replace(plan, studies=(replace(plan.studies[0], baselines=baselines),))

    result = drive(plan, tmp_path)
    (point,) = best_points(result)

    assert [one["name"] for one in point["baselines"]] == ["preset", "auto"]
    for one in point["baselines"]:
        assert one["confirmed_on"] == 2
        assert one["estimate"]["value"] == pytest.approx(1.0 + one["confirmed"], abs=1e-6)
    assert len(result.studies[0].runs) == 6
    assert drive(plan, tmp_path).n_started == 0


def test_values_beside_a_large_offset_look_different(tmp_path):
    path = tmp_path / "large.py"
    path.write_text("def large(x):\n    return 1e9 + x * 1e-3\n")
    raw = {
        "task": "function",
        "problems": [{"function": f"{path}:large"}],
        "search_space": {"function": {"x": {"choices": [1.0, 2.0]}}},
        "optuna": {"max_trials": 2, "batch_size": 1, "confirm": 1, "sampler": "grid"},
    }

    points = best_points(drive(plan_run(structure(RunSpec, raw, "$"), "$"), tmp_path))

    assert list(points[0]["digits"].values()) == [15]
    assert shown(points).count("1000000000.001") == 2  # selected, and on a fresh seed
