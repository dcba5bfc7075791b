import json
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parsl_optuna.core.errors import CorruptArtifact, SpecError
from parsl_optuna.report import tables as aggregate
from parsl_optuna.store.artifacts import ArtifactStore

from tests.toyrun import drive, toy_plan


def collected(folder, plan):
    return aggregate.table(aggregate.collect(ArtifactStore(folder), plan.task.name), plan.task)


def test_one_row_per_trial_from_files_alone(tmp_path):
    plan = toy_plan(1.0, 2.0, methods=("guess", "other"), confirm=2, max_trials=4)
    drive(plan, tmp_path)

    rows = collected(tmp_path, plan).to_pylist()

    assert len(rows) == 16
    assert len({row["trial_id"] for row in rows}) == 16
    for row in rows:
        assert row["objective"] == row["error"] == pytest.approx(abs(row["value"] - row["truth_ref"]))
        assert (row["truth_ref"], row["truth_se"], row["se"]) == (float(row["problem"]), 0.01, 0.1)
        assert row["state"] == "ok"
        assert json.loads(row["hyperparams_json"]).keys() == {"x", "k", "kind"}
        assert row["diagnostics"] == {"depth": row["hyperparams"]["k"]}
        assert row["started"] <= row["ended"]


def test_problems_of_one_label_are_told_apart(tmp_path):
    """As two versions of a function are, whose label is the name of its file."""
    plan = toy_plan(1.0, 2.0, max_trials=2)
    drive(plan, tmp_path)
    ended = aggregate.collect(ArtifactStore(tmp_path), plan.task.name)

    rows = aggregate.table([replace(one, label="same") for one in ended], plan.task).to_pylist()

    assert {row["problem"] for row in rows} == {f"same ({problem.pid})" for problem in plan.problems}


def test_the_columns_of_the_contract_are_there_and_typed(tmp_path):
    plan = toy_plan(max_trials=2)
    drive(plan, tmp_path)

    schema = collected(tmp_path, plan).schema

    for name in ("pid", "method", "trial_id", "state", "reason", "hyperparams_json"):
        assert schema.field(name).type == pa.string()
    for name in ("objective", "error", "runtime_sec", "budget_sec", "value", "truth_ref", "truth_se"):
        assert schema.field(name).type == pa.float64()
    assert schema.field("trial_number").type == pa.int64()
    assert schema.field("seed").type == pa.int64()
    assert schema.field("ended").type == pa.timestamp("ms", tz="UTC")
    assert pa.types.is_struct(schema.field("hyperparams").type)


def test_failed_trials_are_rows_without_an_objective(tmp_path):
    plan = toy_plan({"truth": 1.0, "trouble": "some"}, stop_after_failures=0)
    drive(plan, tmp_path)

    rows = collected(tmp_path, plan).to_pylist()

    bad = [row for row in rows if row["state"] == "failed"]
    assert bad
    assert len(rows) == 6
    assert all(row["objective"] is None and row["reason"].startswith("ValueError") for row in bad)


def test_a_table_goes_to_disk_and_back(tmp_path):
    plan = toy_plan(max_trials=2, objectives=["error", "cost"])
    drive(plan, tmp_path)
    rows = collected(tmp_path, plan)

    aggregate.write(rows, tmp_path / "t.parquet")
    back = aggregate.read(tmp_path / "t.parquet")

    assert back.equals(rows)
    assert aggregate.objectives_of(back) == ["error", "cost"]
    assert back.column("cost").null_count == 0


def test_an_empty_table_has_its_columns(tmp_path):
    plan = toy_plan()

    assert {"pid", "objective", "hyperparams"} <= set(collected(tmp_path, plan).column_names)


def test_bad_tables_are_one_line(tmp_path):
    torn, other = tmp_path / "torn.parquet", tmp_path / "other.parquet"
    torn.write_bytes(b"PAR1 and then nothing")
    pq.write_table(pa.table({"a": [1]}), other)

    with pytest.raises(CorruptArtifact, match="not a parquet file"):
        aggregate.read(torn)
    with pytest.raises(SpecError, match="collect"):
        aggregate.read(other)
    with pytest.raises(SpecError, match="no such table"):
        aggregate.read(tmp_path / "none.parquet")


def test_mixed_types_of_a_parameter_become_strings():
    column = aggregate._column

    assert column([1, 2.5, None]).to_pylist() == [1.0, 2.5, None]
    assert column([True, None]).to_pylist() == [True, None]
    assert column([1, "a"]).to_pylist() == ["1", "a"]
    assert column([None, None]).null_count == 2
    assert column([2**70, 1]).to_pylist() == [str(2**70), "1"]


NAMED_LIKE_COLUMNS = {"error": 0.5, "seed": 7, "state": "warm", "diagnostics": 3, "pid": "x", "objective": 1}


def test_metrics_are_in_their_struct_whatever_their_names(tmp_path):
    """A column of the engine neither hides nor is hidden by a metric of its name."""
    plan = toy_plan(max_trials=1)
    drive(plan, tmp_path)
    (entry,) = aggregate.collect(ArtifactStore(tmp_path), plan.task.name)
    metrics = {**entry.outcome.metrics, **NAMED_LIKE_COLUMNS}
    odd = replace(entry, outcome=replace(entry.outcome, metrics=metrics))

    before, row = (aggregate.table([one], plan.task).to_pylist()[0] for one in (entry, odd))

    assert {name: row["metrics"][name] for name in NAMED_LIKE_COLUMNS} == NAMED_LIKE_COLUMNS
    for name in NAMED_LIKE_COLUMNS.keys() - {"diagnostics"}:
        assert row[name] == before[name]


def test_a_declared_metric_of_another_type_is_not_coerced_but_kept(tmp_path):
    plan = toy_plan(max_trials=1)
    drive(plan, tmp_path)
    (entry,) = aggregate.collect(ArtifactStore(tmp_path), plan.task.name)
    task = replace(plan.task, columns={"value": "str", "cost": "int", "se": "int"})

    (row,) = aggregate.table([entry], task).to_pylist()

    assert (row["value"], row["cost"], row["se"]) == (None, int(entry.outcome.metrics["cost"]), None)
    assert row["metrics"] == {name: entry.outcome.metrics[name] for name in ("value", "se")}


def test_a_task_cannot_take_a_column_of_the_engine(tmp_path):
    plan = toy_plan()

    with pytest.raises(SpecError, match="the column 'state' is one of every table"):
        aggregate.table([], replace(plan.task, columns={"state": "str"}))


@pytest.fixture
def stored(tmp_path):
    """The path of a table of three trials."""
    plan = toy_plan(1.0, max_trials=3)
    drive(plan, tmp_path / "artifacts")
    aggregate.write(collected(tmp_path / "artifacts", plan), tmp_path / "optuna_trials.parquet")
    return tmp_path / "optuna_trials.parquet"


def test_columns_that_an_older_version_did_not_write_are_empty(stored):
    rows = aggregate.read(stored)
    aggregate.write(rows.drop_columns(["asked_by", "started", "budget_sec", "host"]), stored)

    found = aggregate.read(stored)

    assert found["asked_by"].null_count == found["started"].null_count == 3
    assert set(found.column_names) == set(rows.column_names)


def test_a_table_that_pandas_wrote_again_is_refused_with_the_cure(stored):
    pd.read_parquet(stored).to_parquet(stored)

    with pytest.raises(SpecError, match=r"another program.*parsl-optuna collect"):
        aggregate.read(stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop_columns(["trial_id"]), "column trial_id is missing or has gaps"),
        (lambda rows: pa.concat_tables([rows, rows]), "is there 2 times"),
        (lambda rows: replaced(rows, "objective", ["1", "2", "low"]), "column objective is no float"),
        (lambda rows: replaced(rows, "hyperparams_json", ["{}", "[]", "{}"]), "is no JSON object"),
        (lambda rows: replaced(rows, "state", ["ok", None, "ok"]), "column state is missing or has gaps"),
    ],
)
def test_a_table_that_was_edited_is_refused_by_column(stored, change, message):
    aggregate.write(change(aggregate.read(stored)), stored)

    with pytest.raises(SpecError, match=message):
        aggregate.read(stored)


def replaced(rows, name, values):
    return rows.set_column(rows.column_names.index(name), name, pa.array(values))


def test_before_the_end_of_a_run_the_command_that_makes_its_table_is_named(tmp_path):
    (tmp_path / "events.jsonl").touch()

    with pytest.raises(SpecError, match=r"at its end.*parsl-optuna collect"):
        aggregate.table_in(tmp_path)
