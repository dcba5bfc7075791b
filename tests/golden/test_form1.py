"""An artifact tree of the first schema is read by every later version."""

import json
import shutil
from pathlib import Path

import pytest
from parsl_optuna.core.records import State
from parsl_optuna.execution.inline import InlineExecutor
from parsl_optuna.report import tables
from parsl_optuna.store import document
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.layout import Results
from parsl_optuna.study.driver import Driver
from parsl_optuna.study.plan.tuning import load_run, plan_run
from parsl_optuna.tasks.base import resolve_task

HERE = Path(__file__).parent / "form1"
FROZEN = json.loads((HERE / "tables.json").read_text(encoding="utf-8"))
STUDIES = ["autoencoder", "command", "function", "lvae", "varmix", "varmix-longer"]
"""All but the LLC's: version 2 of that task gives other numbers, so that its trials are others."""


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A copy of the tree as working folder: functions and programs are named relative to it."""
    folder = shutil.copytree(HERE, tmp_path / "tree")
    monkeypatch.chdir(folder)
    return folder


class NoWorkers(InlineExecutor):
    """An executor on which nothing may be submitted."""

    def submit(self, function, *args, urgency=0.0):
        raise AssertionError(f"submitted {function} {args}")


def collected(tree, name):
    rows = tables.table(tables.collect(ArtifactStore(tree / "artifacts"), name), resolve_task(name))
    return json.loads(json.dumps(rows.to_pylist(), default=lambda value: value.isoformat()))


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_collect_gives_the_frozen_table(tree, name):
    rows = collected(tree, name)

    assert len(rows) == len(FROZEN[name])
    for row, frozen in zip(rows, FROZEN[name], strict=True):
        metrics = frozen.pop("metrics", None)
        assert {key: row[key] for key in frozen} == frozen
        assert metrics is None or {key: row["metrics"][key] for key in metrics} == metrics


def test_metrics_named_like_columns_are_in_their_struct(tree):
    rows = {row["trial_number"]: row for row in collected(tree, "function")}

    first = rows[0]
    assert first["metrics"]["seed"] == 7
    assert first["seed"] == 0
    assert first["metrics"]["error"] == 2 * first["hyperparams"]["x"]
    assert first["error"] is None


def test_the_tree_has_a_trial_of_every_kind(tree):
    rows = [row for name in FROZEN for row in collected(tree, name)]

    assert {row["state"] for row in rows} == {State.OK, State.FAILED, State.PRUNED}
    assert {row["asked_by"] for row in rows} >= {"search", "enqueue", "extend"}
    assert any(row["reference_status"] for row in rows)


NEWER = {"lvae"}
"""Tasks whose version is another by now: their trials stay readable, and the same command makes new ones."""


@pytest.mark.parametrize("name", [name for name in STUDIES if name not in NEWER])
def test_the_same_command_runs_nothing_again(tree, name):
    plan = plan_run(load_run(Path(f"{name}.yaml"), ()), name)

    result = Driver(plan, ArtifactStore(tree / "artifacts"), NoWorkers(), lambda _: None).run()

    assert result.n_started == 0
    assert not result.failures
    assert all(study.ended for study in result.studies)


def test_trials_of_an_older_version_of_a_task_are_not_taken_for_todays(tree):
    plan = plan_run(load_run(Path("llc.yaml"), ()), "llc")

    assert plan.task.version > 1
    assert not {problem.pid for problem in plan.problems} & set(
        ArtifactStore(tree / "artifacts").problem_ids()
    )


def test_best_points_are_read(tree):
    data = document.read(Results(tree / "results").best)

    assert data is not None
    assert data["studies"][0]["trial_id"] == "r_7cbde174b607"
