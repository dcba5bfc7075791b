"""An index against the files that it was made of."""

import json
import shutil

import pytest
from parsl_optuna.core.errors import CorruptArtifact
from parsl_optuna.execution.inline import InlineExecutor
from parsl_optuna.store import document
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.index import Index
from parsl_optuna.study.driver import Driver

from tests.toyrun import drive, rows, toy_plan


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr("parsl_optuna.store.index._FEWEST", 1)


@pytest.fixture
def kept(tmp_path):
    """A finished run, read once and its index kept."""
    plan = toy_plan(1.0, max_trials=12)
    drive(plan, tmp_path)
    store = ArtifactStore(tmp_path)
    result = again(plan, store)
    store.keep_indexes()
    return plan, result, next((tmp_path / "index").rglob("guess.json"))


def again(plan, store):
    return Driver(plan, store, InlineExecutor(), lambda _: None).run()


def trial_folder(root):
    return next((root / "runs").glob("*/guess/r_*"))


def test_with_it_and_without_it_a_start_is_the_same(kept, tmp_path):
    plan, result, index = kept
    with_it = again(plan, ArtifactStore(tmp_path))
    index.unlink()
    without = again(plan, ArtifactStore(tmp_path))

    assert rows(with_it) == rows(without) == rows(result)
    assert (with_it.n_started, without.n_started) == (0, 0)


def test_it_saves_opening_the_files(kept, tmp_path, monkeypatch):
    plan, result, _ = kept
    monkeypatch.setattr(Index, "read", lambda *_: pytest.fail("a file was opened"))

    assert rows(again(plan, ArtifactStore(tmp_path))) == rows(result)


def test_an_outcome_that_is_gone_is_gone(kept, tmp_path):
    plan, _, _ = kept
    (trial_folder(tmp_path) / "metrics.json").unlink()

    assert again(plan, ArtifactStore(tmp_path)).n_started == 1


def test_an_outcome_that_was_written_anew_is_read_again(kept, tmp_path):
    plan, _, _ = kept
    path = trial_folder(tmp_path) / "metrics.json"
    data = document.read(path)
    document.write(path, data | {"metrics": data["metrics"] | {"value": 7.25}})

    (study,) = again(plan, ArtifactStore(tmp_path)).studies

    assert 7.25 in {ended.outcome.metrics["value"] for ended in study.ended.values()}


def test_an_outcome_that_was_changed_is_refused(kept, tmp_path):
    plan, _, _ = kept
    path = trial_folder(tmp_path) / "metrics.json"
    path.write_text(path.read_text().replace('"value": ', '"value": 1'))

    with pytest.raises(CorruptArtifact, match=r"metrics\.json: was changed"):
        again(plan, ArtifactStore(tmp_path))


def test_a_manifest_that_was_changed_is_refused(kept, tmp_path):
    plan, _, _ = kept
    path = trial_folder(tmp_path) / "manifest.json"
    path.write_text(path.read_text().replace('"kind": "', '"kind": "x'))

    with pytest.raises(CorruptArtifact, match=r"manifest\.json: was changed"):
        again(plan, ArtifactStore(tmp_path))


def test_a_trial_whose_folder_is_gone_is_forgotten(kept, tmp_path):
    _, result, _ = kept
    shutil.rmtree(trial_folder(tmp_path))

    (study,) = again(toy_plan(1.0, max_trials=11), ArtifactStore(tmp_path)).studies

    assert len(study.ended) == 11 == len(result.studies[0].ended) - 1


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"version": 99, "entries": {}}', '{"version": "1 0.0.0", "entries": {}}', "\x00" * 9],
)
def test_what_a_crash_or_another_version_left_is_no_index(kept, tmp_path, content):
    plan, result, index = kept
    index.write_text(content)

    assert rows(again(plan, ArtifactStore(tmp_path))) == rows(result)


def test_it_is_written_only_when_there_is_something_new(kept, tmp_path):
    plan, _, index = kept
    before = index.stat().st_mtime_ns
    store = ArtifactStore(tmp_path)
    again(plan, store)
    store.keep_indexes()
    assert index.stat().st_mtime_ns == before

    drive(toy_plan(1.0, max_trials=14), tmp_path)
    store = ArtifactStore(tmp_path)
    again(toy_plan(1.0, max_trials=14), store)
    store.keep_indexes()
    assert len(json.loads(index.read_text())["entries"]) == 2 * 14


def test_one_that_cannot_be_written_is_done_without(tmp_path):
    plan = toy_plan(1.0)
    drive(plan, tmp_path)
    (tmp_path / "index").write_text("a file where a folder should be")
    store = ArtifactStore(tmp_path)
    again(plan, store)

    store.keep_indexes()

    assert (tmp_path / "index").is_file()


def test_few_files_have_none(tmp_path, monkeypatch):
    monkeypatch.setattr("parsl_optuna.store.index._FEWEST", 100)
    plan = toy_plan(1.0)
    drive(plan, tmp_path)
    store = ArtifactStore(tmp_path)
    again(plan, store)
    store.keep_indexes()

    assert not (tmp_path / "index").exists()
