import pandas as pd
import pytest
from parsl_optuna.report import files

from tests.unit.report.test_analysis import analysed
from tests.unit.report.test_configurations import trials

POINTS = [{"a": a, "b": b, "seed": seed} for a in "xy" for b in range(10) for seed in (1, 2)]


def test_every_table_has_the_columns_that_an_empty_one_has(tmp_path):
    full = trials(POINTS * 2, [float(k % 7) for k in range(80)], problem=["p"] * 40 + ["q"] * 40)
    full["trial_id"] = [f"r_{k}" for k in range(80)]
    full["state"] = ["failed" if k % 9 == 0 else "ok" for k in range(80)]

    tables = analysed(tmp_path, full.assign(reason="no")).tables

    assert all(not table.empty for table in tables.values())
    assert {name: tuple(table.columns) for name, table in tables.items()} == {
        name: files.COLUMNS[name] for name in tables
    }


def test_a_table_without_rows_is_a_file_with_a_header(tmp_path):
    files.write(analysed(tmp_path, trials([{"a": 1}], [1.0])), tmp_path / "analysis")

    found = {path.stem: pd.read_csv(path) for path in (tmp_path / "analysis").glob("*.csv")}

    assert tuple(found["pairs"].columns) == files.COLUMNS["pairs"]
    assert found["pairs"].empty
    assert len(found["best"]) == 1


def test_what_an_earlier_analysis_left_is_not_taken_for_one_of_this(tmp_path):
    folder = tmp_path / "analysis"
    old = ("interaction.png", "curves_of_loss.png", "objective_by_hyperparameter_2.png", "bias.csv")
    folder.mkdir()
    for name in (*old, "mine.png"):
        (folder / name).write_bytes(b"old")

    files.write(analysed(tmp_path, trials([{"a": 1}, {"a": 2}], [1.0, 2.0])), folder)

    assert not any((folder / name).exists() for name in old)
    assert (folder / "mine.png").exists()


@pytest.mark.parametrize(
    ("state", "why"),
    [("failed", "no trial ended ok"), ("ok", "no hyperparameter varies among the trials")],
)
def test_the_reason_for_an_empty_table_is_the_one_that_holds(tmp_path, state, why):
    rows = trials([{"a": 1}] if state == "ok" else [{"a": 1}, {"a": 2}], 1.0, state=state)

    assert files.why_empty(analysed(tmp_path, rows), "effects").startswith(why)
