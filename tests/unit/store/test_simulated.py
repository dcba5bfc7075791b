from parsl_optuna.core.records import Asked
from parsl_optuna.execution.inline import InlineExecutor
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.simulated import SimulatedStore
from parsl_optuna.study.driver import Driver

from tests.toyrun import drive, toy_plan


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_is_there_is_read_and_nothing_is_written(tmp_path):
    plan = toy_plan(1.0)
    real = drive(plan, tmp_path)
    before = files(tmp_path)
    (study,) = real.studies
    manifest = next(iter(study.ended.values())).manifest
    store = SimulatedStore(tmp_path)

    assert store.outcome(manifest) == ArtifactStore(tmp_path).outcome(manifest)
    store.retire(manifest)
    assert store.outcome(manifest) is None

    result = Driver(plan, SimulatedStore(tmp_path), InlineExecutor(), lambda _: None).run()
    assert result.n_started == 0
    assert files(tmp_path) == before


def test_what_is_added_is_found_again_with_what_was_there(tmp_path):
    plan = toy_plan(1.0, max_trials=8)
    (study,) = drive(toy_plan(1.0, max_trials=3), tmp_path).studies
    there = next(iter(study.ended.values())).manifest
    store = SimulatedStore(tmp_path)
    (wanted,) = plan.studies
    added = plan.manifest(wanted, {**there.hyperparams, "x": 0.123}, 0)

    asked = store.put_manifest(added, Asked(9, "", "search"))

    assert store.manifest(added.pid, added.method, added.trial_id) == (added, asked)
    assert store.put_manifest(added, Asked(10, "", "search")) == asked
    assert len(list(store.manifests(added.pid, added.method))) == 4
