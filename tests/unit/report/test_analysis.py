import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.report import tables
from parsl_optuna.report.analysis import analyse, strongest_pair
from parsl_optuna.store.artifacts import ArtifactStore

from tests.unit.report.test_configurations import trials


def table_in(folder, rows, maximised=(), objectives=("acc",)):
    """Write rows as a run does, with the metadata of a table."""
    more = {"pid": "p_0", "reason": None, "asked_by": "fixed"}
    table = pa.Table.from_pandas(rows.assign(**{k: v for k, v in more.items() if k not in rows.columns}))
    metadata = {
        b"parsl_optuna_schema": tables.SCHEMA_VERSION.encode(),
        b"parsl_optuna_objectives": json.dumps(list(objectives)).encode(),
        b"parsl_optuna_maximised": json.dumps(list(maximised)).encode(),
    }
    path = folder / "optuna_trials.parquet"
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def analysed(folder, rows, **keywords):
    return analyse(table_in(folder, rows, **keywords), ArtifactStore(folder / "artifacts"))


def test_the_best_configuration_is_that_of_the_best_mean_over_seeds(tmp_path):
    rows = trials([{"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}], [0.0, 9.0, 3.0, 4.0], seed=[0, 1, 0, 1])

    best = analysed(tmp_path, rows).tables["best"].iloc[0]

    assert (best["hyperparameters"], best["objective"], best["n"]) == ("a=2", 3.5, 2)


def test_more_is_better_where_an_objective_is_maximised(tmp_path):
    rows = trials([{"a": 1}, {"a": 2}], [0.5, 0.9])

    found = analysed(tmp_path, rows, maximised=["acc"])

    assert found.tables["best"].iloc[0]["objective"] == 0.9


def test_failures_are_counted_with_their_reasons(tmp_path):
    rows = trials(
        [{"a": 1}, {"a": 2}, {"a": 3}],
        [1.0, None, None],
        state=["ok", "failed", "failed"],
        reason=[None, "ValueError: x", "ValueError: x"],
    )

    found = analysed(tmp_path, rows)

    assert found.findings[-1] == "3 trials: 1 ok, 2 failed."
    assert found.tables["failures"].iloc[0][["reason", "trials"]].tolist() == ["ValueError: x", 2]


def test_an_interaction_is_shown_only_of_parameters_that_trials_have_together(tmp_path):
    """Parameters of two methods once gave an empty picture."""
    points = [{"a": a / 40} for a in range(40)] + [{"b": b / 40} for b in range(40)]
    rows = trials(points, [*range(40), *range(40)], method=["m"] * 40 + ["n"] * 40)

    assert strongest_pair(analysed(tmp_path, rows)) is None


def test_without_a_trial_there_is_nothing_to_analyse(tmp_path):
    with pytest.raises(SpecError, match="no trial in it"):
        analysed(tmp_path, trials([{"a": 1}], [1.0]).iloc[:0])


def test_an_infeasible_configuration_is_not_best_beside_a_feasible_one(tmp_path):
    rows = trials([{"a": 1}, {"a": 2}], [0.1, 0.9])

    found = analysed(tmp_path, rows.assign(feasible=[False, True]))
    without = analysed(tmp_path, rows.assign(feasible=[False, False]))

    assert found.tables["best"]["hyperparameters"].tolist() == ["a=2"]
    assert found.tables["best"]["objective"].tolist() == [0.9]
    assert without.tables["best"]["objective"].tolist() == [0.1, 0.9]
