import json
import shutil
from dataclasses import replace

import pytest
from parsl_optuna.core import ids
from parsl_optuna.core.errors import CorruptArtifact, SpecError, StoreError
from parsl_optuna.core.records import SCHEMA, Asked, Manifest, Outcome, State
from parsl_optuna.store import document
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.layout import Artifacts, Results
from parsl_optuna.worker.execute import failure

ASKED = Asked(0, "2026-01-01T00:00:00.000Z", "search")


@pytest.fixture(params=["plain", "with space", "quote'\"", "ünï\ncode", 250 * "x"])
def store(tmp_path, request):
    """A store at a path that people really have."""
    return ArtifactStore(tmp_path / request.param)


def manifest(**changes):
    base = Manifest("toy", 1, "trial", "p_0123456789ab", "guess", {"x": 1.0, "k": 2}, 0, 60.0)
    return replace(base, **changes)


def outcome(of, value=1.0):
    return replace(failure(of, State.OK, ""), reason=None, metrics={"value": value})


def test_a_manifest_comes_back(store):
    assert store.put_manifest(manifest(), ASKED) == ASKED

    assert store.manifest("p_0123456789ab", "guess", manifest().trial_id) == (manifest(), ASKED)
    assert [found for found, _ in store.manifests("p_0123456789ab", "guess")] == [manifest()]


def test_a_manifest_keeps_how_it_was_first_asked(store):
    store.put_manifest(manifest(), ASKED)

    assert store.put_manifest(manifest(), replace(ASKED, number=99)) == ASKED


def test_an_empty_manifest_is_what_a_power_failure_leaves_and_is_written_again(store):
    store.put_manifest(manifest(), ASKED)
    path = store.paths.manifest("p_0123456789ab", "guess", manifest().trial_id)
    path.write_bytes(b"")

    assert list(store.manifests("p_0123456789ab", "guess")) == []
    again = replace(ASKED, number=7)
    assert store.put_manifest(manifest(), again) == again
    assert list(store.manifests("p_0123456789ab", "guess")) == [(manifest(), again)]


def test_ids_ignore_how_a_number_is_written():
    assert manifest().trial_id == manifest(hyperparams={"k": 2.0, "x": 1}).trial_id


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"budget_sec": 61.0},
        {"method": "other"},
        {"hyperparams": {"x": 1.1, "k": 2}},
        {"task_version": 2},
    ],
)
def test_ids_see_everything_that_counts(change):
    assert manifest().trial_id != manifest(**change).trial_id


def test_the_budget_of_a_reference_does_not_count():
    reference = manifest(role="reference")

    assert reference.trial_id == replace(reference, budget_sec=1.0).trial_id


def test_another_manifest_under_the_same_id_is_a_collision(store):
    store.put_manifest(manifest(), ASKED)
    trial_id = manifest().trial_id
    path = store.paths.manifest("p_0123456789ab", "guess", trial_id)
    document.write(path, document.read(path) | {"seed": 5})

    with pytest.raises(CorruptArtifact, match="edited, or a collision"):
        store.put_manifest(manifest(), ASKED)
    with pytest.raises(CorruptArtifact, match="edited, or a collision"):
        store.manifest("p_0123456789ab", "guess", trial_id)


def test_two_trials_of_the_same_id_are_never_one(tmp_path, monkeypatch):
    """Ids of one hexadecimal digit collide soon; the second trial is refused, and the first one stays."""
    monkeypatch.setattr(ids, "ID_HEX_DIGITS", 1)
    store, first = ArtifactStore(tmp_path), manifest()
    other = next(one for seed in range(1, 99) if (one := manifest(seed=seed)).trial_id == first.trial_id)
    store.put_manifest(first, ASKED)

    with pytest.raises(
        CorruptArtifact, match=r"manifest\.json: a collision: holds another trial of the id r_."
    ):
        store.put_manifest(other, ASKED)

    assert store.manifest(first.pid, first.method, first.trial_id)[0] == first


def test_the_first_outcome_is_the_accepted_one(store):
    store.put_manifest(manifest(), ASKED)

    first = store.commit(manifest(), outcome(manifest(), 1.0))
    second = store.commit(manifest(), outcome(manifest(), 2.0))

    assert first.metrics == second.metrics == {"value": 1.0}
    assert store.outcome(manifest()) == first


def test_a_manifest_is_on_disk_with_its_outcome_and_not_before(store, syncs):
    """An outcome that outlived a power failure without its manifest would be nobody's."""
    names = (manifest().pid, manifest().method, manifest().trial_id)
    seen = syncs(store.paths.metrics(*names))

    store.put_manifest(manifest(), ASKED)
    assert seen == []
    store.commit(manifest(), outcome(manifest()))

    files = [store.paths.metrics(*names), store.paths.manifest(*names)]
    assert [inode for inode, _ in seen] == [one.stat().st_ino for one in [*files, files[0].parent]]


def test_a_retired_outcome_is_kept_and_the_trial_is_open_again(store):
    store.put_manifest(manifest(), ASKED)
    for value in (1.0, 2.0):
        store.commit(manifest(), outcome(manifest(), value))
        store.retire(manifest())

    folder = store.paths.metrics("p_0123456789ab", "guess", manifest().trial_id).parent
    assert store.outcome(manifest()) is None
    assert sorted(path.name for path in folder.glob("metrics*")) == [
        "metrics.retired-1.json",
        "metrics.retired-2.json",
    ]


@pytest.mark.parametrize("damage", ["truncate", "empty", "other", "keys"])
def test_a_damaged_outcome_is_told_with_its_path_and_the_cure(store, damage):
    store.put_manifest(manifest(), ASKED)
    store.commit(manifest(), outcome(manifest()))
    path = store.paths.metrics("p_0123456789ab", "guess", manifest().trial_id)
    text = path.read_text(encoding="utf-8")
    damaged = {
        "truncate": text[:40],
        "empty": "",
        "other": text.replace(manifest().trial_id, "r_ffffffffffff"),
        "keys": "{}",
    }
    path.write_text(damaged[damage], encoding="utf-8")

    with pytest.raises(CorruptArtifact, match="delete it"):
        store.outcome(manifest())


def test_an_outcome_of_another_trial_is_refused(tmp_path):
    """A folder copied by hand: every file is intact, in the wrong place."""
    store, other = ArtifactStore(tmp_path), manifest(seed=1)
    for one in (manifest(), other):
        store.put_manifest(one, ASKED)
    store.commit(manifest(), outcome(manifest()))
    source = store.paths.metrics("p_0123456789ab", "guess", manifest().trial_id)
    target = store.paths.metrics("p_0123456789ab", "guess", other.trial_id)
    target.write_bytes(source.read_bytes())

    with pytest.raises(CorruptArtifact, match=f"belongs to the trial {manifest().trial_id}"):
        store.outcome(other)


def test_a_reference_of_another_problem_is_refused(tmp_path):
    store = ArtifactStore(tmp_path)
    data = {"ref": 1.0, "se": 0.1, "status": "ok", "status_reason": None, "trial_id": "r_1", "metrics": {}}
    store.put_reference("p_1", data)
    store.paths.reference("p_2").parent.mkdir()
    store.paths.reference("p_2").write_bytes(store.paths.reference("p_1").read_bytes())

    assert store.reference("p_1", "ref", "se").value == 1.0
    with pytest.raises(CorruptArtifact, match="belongs to the problem p_1"):
        store.reference("p_2", "ref", "se")


NAMED_LIKE_KEYS = {
    "state": "warm",
    "seed": 7,
    "error": 0.5,
    "schema": 9,
    "digest": "d",
    "metrics": 1,
    "value": 2.0,
}


def test_metrics_named_like_keys_of_the_engine_are_neither_lost_nor_hide_them(tmp_path):
    store = ArtifactStore(tmp_path)
    store.put_manifest(manifest(), ASKED)
    store.commit(manifest(), replace(outcome(manifest()), metrics=NAMED_LIKE_KEYS))

    found = store.outcome(manifest())
    assert (found.metrics, found.state, found.unknown) == (NAMED_LIKE_KEYS, State.OK, {})


def test_metrics_whose_name_is_free_also_stand_at_top_level(tmp_path):
    """The contract's `metrics.json` has `llc_hat` there."""
    store = ArtifactStore(tmp_path)
    store.put_manifest(manifest(), ASKED)
    store.commit(manifest(), replace(outcome(manifest()), metrics=NAMED_LIKE_KEYS))

    data = json.loads(store.paths.metrics("p_0123456789ab", "guess", manifest().trial_id).read_text())
    assert (data["value"], data["error"], data["state"], data["schema"]) == (2.0, 0.5, "ok", SCHEMA)


def test_a_key_of_a_newer_version_survives_reading_and_writing(tmp_path):
    store = ArtifactStore(tmp_path)
    store.put_manifest(manifest(), ASKED)
    newer = Outcome.from_json({**outcome(manifest()).to_json(), "energy_kwh": 0.25})
    store.commit(manifest(), newer)

    found = store.outcome(manifest())
    assert (found, found.unknown) == (newer, {"energy_kwh": 0.25})


def test_a_problem_is_verified(store):
    pid = store.put_problem("toy", 1, {"truth": 1.0}, "label")
    path = store.paths.problem(pid)
    document.write(path, document.read(path) | {"problem": {"truth": 2.0}})

    with pytest.raises(CorruptArtifact, match="edited, or a collision"):
        store.put_problem("toy", 1, {"truth": 1.0}, "label")


def test_a_problem_is_prepared_once_and_verified(store):
    built = []

    def build(folder):
        built.append(folder)
        (folder / "data.bin").write_bytes(b"123")

    first, second = (store.prepare("p_1", build) for _ in range(2))

    assert first == second
    assert len(built) == 1
    (first / "data.bin").write_bytes(b"124")
    with pytest.raises(CorruptArtifact, match=r"data\.bin: missing or damaged"):
        store.prepared("p_1")


def test_a_builder_that_fails_leaves_nothing(store):
    def build(folder):
        (folder / "half").write_bytes(b"1")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.prepare("p_1", build)

    assert store.prepared("p_1") is None
    assert list(store.paths.problems.glob("*/.*")) == []


def test_of_two_builders_the_first_wins(store):
    def slow(folder):
        (folder / "data").write_text("slow", encoding="utf-8")
        store.prepare("p_1", lambda other: (other / "data").write_text("fast", encoding="utf-8"))

    assert (store.prepare("p_1", slow) / "data").read_text(encoding="utf-8") == "fast"


def test_a_folder_without_manifest_is_what_a_crash_leaves(store):
    (store.paths.trials("p_0123456789ab", "guess") / "r_000000000000").mkdir(parents=True)

    assert list(store.manifests("p_0123456789ab", "guess")) == []


@pytest.mark.parametrize("suffix", [" (copy)", ".bak", "~", "-old"])
def test_folders_that_somebody_copied_are_none_of_ours(tmp_path, suffix):
    store, mine = ArtifactStore(tmp_path), manifest()
    store.put_problem("toy", 1, {"truth": 1.0}, "toy")
    store.put_manifest(mine, ASKED)
    folders = [store.paths.trials(mine.pid, "guess") / mine.trial_id, *store.paths.problems.iterdir()]
    for folder in [*folders, folders[0].parent]:
        shutil.copytree(folder, folder.with_name(f"{folder.name}{suffix}"))

    found = [store.manifests(mine.pid, method) for method in store.methods(mine.pid)]
    assert [one.trial_id for few in found for one, _ in few] == [mine.trial_id]
    assert [one.name for one in folders[1:]] == store.problem_ids()


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", "", ".hidden", "a\x00"])
def test_names_cannot_leave_their_folder(tmp_path, name):
    with pytest.raises(SpecError, match="is no name"):
        Artifacts(tmp_path).problem(name)


def test_a_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(StoreError, match="choose another --artifacts-dir"):
        ArtifactStore(tmp_path / "file").check_writable()


def test_the_layout_is_that_of_the_contract(tmp_path):
    paths, results = Artifacts(tmp_path / "artifacts"), Results(tmp_path / "results")
    found = [
        paths.reference("p_1"),
        paths.manifest("p_1", "vi", "r_1"),
        paths.metrics("p_1", "vi", "r_1"),
        results.table,
        results.study("llc", "p_1", "vi"),
    ]

    assert [str(path.relative_to(tmp_path)) for path in found] == [
        "artifacts/problems/p_1/ref.json",
        "artifacts/runs/p_1/vi/r_1/manifest.json",
        "artifacts/runs/p_1/vi/r_1/metrics.json",
        "results/optuna_trials.parquet",
        "results/studies/optuna_llc/p_1:vi.pkl",
    ]


def test_outcomes_survive_json():
    before = replace(outcome(manifest()), code={"x.py": "ab"}, worker={"SLURM_JOB_ID": "3"})

    assert Outcome.from_json(json.loads(json.dumps(before.to_json()))) == before
