import json
import shutil
from dataclasses import replace

import pytest
from parsl_optuna.core.errors import CorruptArtifact, SpecError, StoreError, WorkerLost
from parsl_optuna.core.records import Asked, Request, State
from parsl_optuna.store import document
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.worker import execute as worker

from tests.toyrun import toy_plan

ASKED = Asked(0, "2020-01-01T00:00:00+00:00", "search")


def stored(folder, *, role="trial", x=0.5, **problem):
    """Store a problem and one of its manifests; return the store and the manifest."""
    plan = toy_plan({"truth": 1.0} | problem)
    store = ArtifactStore(folder)
    bound, study = plan.problems[0], plan.studies[0]
    store.put_problem(plan.task.name, plan.task.version, bound.problem, bound.label)
    manifest = bound.reference
    if role == "trial":
        manifest = plan.manifest(study, study.hyperparams({"x": x, "k": 2, "kind": "plain"}), 0)
    store.put_manifest(manifest, ASKED)
    return store, manifest


def execute(store, manifest):
    return worker.execute(Request(str(store.paths.root), manifest.pid, manifest.method, manifest.trial_id))


def test_a_trial_leaves_strict_json_with_everything_a_reader_needs(tmp_path):
    store, reference = stored(tmp_path, role="reference")
    execute(store, reference)
    store, manifest = stored(tmp_path)

    execute(store, manifest)

    path = store.paths.metrics(manifest.pid, manifest.method, manifest.trial_id)
    data = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(word))
    assert data["state"] == "ok"
    for name in (
        "host",
        "versions",
        "git_commit",
        "worker",
        "started",
        "ended",
        "runtime_sec",
        "prepare_sec",
    ):
        assert data[name] is not None


def test_an_outcome_is_never_run_again(tmp_path):
    log = tmp_path / "log"
    store, manifest = stored(tmp_path, log=str(log))

    assert execute(store, manifest) == execute(store, manifest)
    assert log.read_text().count("guess") == 1


def test_a_reference_publishes_its_answer(tmp_path):
    store, manifest = stored(tmp_path, role="reference")

    execute(store, manifest)

    trusted = store.reference(manifest.pid, "truth_ref", "truth_se")
    assert (trusted.value, trusted.se, trusted.status) == (1.0, 0.01, "ok")
    assert trusted.trial_id == manifest.trial_id


@pytest.mark.parametrize(
    ("trouble", "state", "reason"),
    [
        ("all", State.FAILED, "ValueError: x is too large"),
        ("nan", State.INVALID, "value is nan"),
        ("memory", State.OUT_OF_MEMORY, "out of memory"),
        ("cancelled", State.FAILED, "CancelledError: by its loop"),
        ("prepare", State.FAILED, "RuntimeError: cannot be prepared"),
    ],
)
def test_what_goes_wrong_is_a_state_and_one_line(tmp_path, trouble, state, reason):
    store, manifest = stored(tmp_path, trouble=trouble)

    outcome = execute(store, manifest)

    assert (outcome["state"], outcome["reason"]) == (state.value, reason)


def test_a_task_of_another_version_is_no_outcome(tmp_path):
    store, manifest = stored(tmp_path)
    newer = replace(manifest, task_version=99)
    store.put_manifest(newer, ASKED)

    with pytest.raises(SpecError, match="version 99"):
        execute(store, newer)

    assert store.outcome(newer) is None


def test_replay_agrees_and_stores_nothing(tmp_path):
    store, manifest = stored(tmp_path)
    args = (str(store.paths.root), manifest.pid, manifest.method, manifest.trial_id)
    assert worker.replay(*args)["agrees"] is None
    execute(store, manifest)
    path = store.paths.metrics(manifest.pid, manifest.method, manifest.trial_id)
    before = path.read_bytes()

    assert worker.replay(*args)["agrees"] is True
    assert path.read_bytes() == before
    data = document.read(path)
    document.write(path, data | {"metrics": data["metrics"] | {"value": 7.0}})
    assert worker.replay(*args)["agrees"] is False


def test_an_edited_manifest_is_refused(tmp_path):
    store, manifest = stored(tmp_path)
    path = store.paths.manifest(manifest.pid, manifest.method, manifest.trial_id)
    path.write_text(path.read_text().replace("0.5", "0.6"))

    with pytest.raises(CorruptArtifact, match="was changed"):
        execute(store, manifest)


def test_a_run_whose_folder_was_removed_under_it_has_no_outcome(tmp_path, monkeypatch):
    store, manifest = stored(tmp_path / "artifacts")
    path = store.paths.manifest(manifest.pid, manifest.method, manifest.trial_id)

    def run(work):
        shutil.rmtree(tmp_path / "artifacts")
        work.files.joinpath("note.txt").write_text("x", encoding="utf-8")

    monkeypatch.setattr("parsl_optuna.worker.attempt.load_run", lambda task: run)

    with pytest.raises(StoreError, match=r"manifest.json: was removed while its trial ran; run the command"):
        execute(store, manifest)

    assert not path.with_name("metrics.json").exists()


def test_a_run_whose_disk_was_full_has_no_outcome(tmp_path):
    store, manifest = stored(tmp_path, trouble="full")

    with pytest.raises(WorkerLost, match=r"a disk failed under it: OSError: .*No space left"):
        execute(store, manifest)

    assert store.outcome(manifest) is None


@pytest.mark.parametrize("trouble", ["full", "all"])
def test_a_failed_run_has_no_outcome_while_the_disk_of_the_artifacts_is_full(tmp_path, monkeypatch, trouble):
    def is_full(folder):
        raise StoreError(f"{folder}: cannot be written")

    monkeypatch.setattr("parsl_optuna.worker.attempt.check_disk", is_full)
    store, manifest = stored(tmp_path, trouble=trouble)

    with pytest.raises(StoreError, match="cannot be written"):
        execute(store, manifest)

    assert store.outcome(manifest) is None
