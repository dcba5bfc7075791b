"""An artifact tree of every schema is read by every later version."""

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

HERE = Path(__file__).parent
FORMS = ("form1", "form2")
FROZEN = {form: json.loads((HERE / form / "tables.json").read_text(encoding="utf-8")) for form in FORMS}
TASKS = [(form, name) for form in FORMS for name in sorted(FROZEN[form])]
STUDIES = [(form, path.stem) for form in FORMS for path in sorted((HERE / form).glob("*.yaml"))]


@pytest.fixture(params=FORMS)
def form(request):
    """The name of a schema's tree."""
    return request.param


@pytest.fixture
def tree(tmp_path, monkeypatch, form):
    """A copy of a tree as working folder: functions and programs are named relative to it."""
    folder = shutil.copytree(HERE / form, tmp_path / "tree")
    monkeypatch.chdir(folder)
    return folder


class NoWorkers(InlineExecutor):
    """An executor on which nothing may be submitted."""

    def submit(self, function, *args, urgency=0.0):
        raise AssertionError(f"submitted {function} {args}")


def collected(tree, name):
    rows = tables.table(tables.collect(ArtifactStore(tree / "artifacts"), name), resolve_task(name))
    return json.loads(json.dumps(rows.to_pylist(), default=lambda value: value.isoformat()))


@pytest.mark.parametrize(("form", "name"), TASKS)
def test_collect_gives_the_frozen_table(tree, form, name):
    rows = collected(tree, name)

    assert len(rows) == len(FROZEN[form][name])
    for row, frozen in zip(rows, FROZEN[form][name], strict=True):
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


def test_a_tree_has_a_trial_of_every_kind(tree, form):
    rows = [row for name in FROZEN[form] for row in collected(tree, name)]

    assert {row["state"] for row in rows} == {State.OK, State.FAILED, State.PRUNED}
    assert {row["asked_by"] for row in rows} >= {"search", "enqueue", "extend"}
    assert any(row["reference_status"] for row in rows)


@pytest.mark.parametrize(("form", "name"), STUDIES)
def test_the_same_command_runs_nothing_again_unless_its_task_has_another_version(tree, name):
    """A newer task gives other numbers: its trials are others, and those of the older one stay readable."""
    store = ArtifactStore(tree / "artifacts")
    plan = plan_run(load_run(Path(f"{name}.yaml"), ()), name)
    problems = [store.problem(pid) for pid in store.problem_ids()]
    stored = {one["task_version"] for one in problems if one is not None and one["task"] == plan.task.name}

    if plan.task.version not in stored:
        assert not {problem.pid for problem in plan.problems} & set(store.problem_ids())
        return
    result = Driver(plan, store, NoWorkers(), lambda _: None).run()

    assert result.n_started == 0
    assert not result.failures
    assert all(study.ended for study in result.studies)


BEST = {"form1": "r_7cbde174b607", "form2": "r_a058325df300"}


def test_best_points_are_read(tree, form):
    data = document.read(Results(tree / "results").best)

    assert data is not None
    assert data["studies"][0]["trial_id"] == BEST[form]
