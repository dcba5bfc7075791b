import io

import pytest
from parsl_optuna.report.best import best_points, best_tables
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


def test_a_study_without_success_has_no_best(tmp_path):
    assert best_points(drive(toy_plan({"truth": 1.0, "trouble": "all"}), tmp_path)) == []


def test_the_front_is_listed_with_two_objectives_only(tmp_path):
    one = best_points(drive(toy_plan(), tmp_path / "a"))[0]
    two = best_points(drive(toy_plan(objectives=["error", "cost"]), tmp_path / "b"))[0]

    assert one["front"] == []
    assert {"trial_id", "objectives"} == two["front"][0].keys()


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
