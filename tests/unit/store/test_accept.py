import pytest
from parsl_optuna.core.errors import CorruptArtifact, SpecError
from parsl_optuna.store.accept import accept
from parsl_optuna.store.artifacts import ArtifactStore

from tests.toyrun import drive, toy_plan


@pytest.fixture
def done(tmp_path):
    """A finished study, its store, and one of its trials."""
    (study,) = drive(toy_plan(1.0), tmp_path).studies
    return ArtifactStore(tmp_path), next(iter(study.ended.values())).manifest


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def path_of(store, manifest, name="metrics"):
    return getattr(store.paths, name)(manifest.pid, manifest.method, manifest.trial_id)


def test_an_edited_outcome_is_refused_until_it_is_accepted(done):
    store, manifest = done
    path = path_of(store, manifest)
    edit(path, '"host": ', '"host": "x-" "y", "was": '.replace('" "', ""))
    with pytest.raises(CorruptArtifact, match=f"parsl-optuna accept {manifest.trial_id}"):
        store.outcome(manifest)

    assert accept(store, manifest.trial_id) == [path]

    outcome = store.outcome(manifest)
    assert outcome.host == "x-y"
    assert outcome.unknown.keys() == {"was", "accepted"}
    assert accept(store, manifest.trial_id) == []


def test_the_asked_block_of_a_manifest_can_be_accepted(done):
    store, manifest = done
    edit(path_of(store, manifest, "manifest"), '"by": "search"', '"by": "enqueue"')

    accept(store, manifest.trial_id)

    assert store.manifest(manifest.pid, manifest.method, manifest.trial_id)[1].by == "enqueue"


def test_what_an_id_is_made_of_cannot_be_accepted(done):
    store, manifest = done
    edit(path_of(store, manifest, "manifest"), '"budget_sec": 6', '"budget_sec": 7')

    with pytest.raises(CorruptArtifact, match="its content has the id"):
        accept(store, manifest.trial_id)


def test_an_edit_of_the_copy_of_a_metric_alone_is_refused(done):
    store, manifest = done
    path = path_of(store, manifest)
    value = store.outcome(manifest).metrics["value"]
    edit(path, f'\n  "value": {value}', '\n  "value": 0.0')

    with pytest.raises(SpecError, match=r"value is 0\.0 at top level"):
        accept(store, manifest.trial_id)


def test_a_reference_can_be_accepted(done):
    store, manifest = done
    edit(store.paths.reference(manifest.pid), '\n  "truth_se": 0.01', '\n  "truth_se": 0.02')

    accept(store, manifest.pid)

    assert store.reference(manifest.pid, "truth_ref", "truth_se").se == 0.02


def test_an_id_that_is_not_there_is_told(done):
    store, _ = done

    with pytest.raises(SpecError, match="no such problem or trial"):
        accept(store, "r_000000000000")
