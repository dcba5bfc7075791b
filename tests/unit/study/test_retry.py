import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.records import State
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.store.events import EventLog, EventReader
from parsl_optuna.study import retry

from tests.toyrun import drive, toy_plan


@pytest.fixture
def failing(tmp_path):
    """Return a plan some of whose trials fail, the result of driving it, and the store."""
    plan = toy_plan({"truth": 1.0, "trouble": "some"}, max_trials=8)
    return plan, drive(plan, tmp_path), ArtifactStore(tmp_path)


def test_all_failed_trials_are_found_and_no_other(failing):
    _, result, store = failing

    found = retry.find(store, retry.FAILED, ())

    states = {trial_id: ended.outcome.state for trial_id, ended in result.studies[0].runs.items()}
    assert {one.manifest.trial_id for one in found} == {i for i, s in states.items() if s is State.FAILED}
    assert found
    assert retry.find(store, [State.TIMEOUT], ()) == []


def test_what_is_retried_unless_told_otherwise_is_neither_ok_nor_pruned():
    assert set(retry.FAILED) == set(State) - {State.OK, State.PRUNED}


def test_retired_trials_run_again_with_the_same_command_and_their_outcomes_are_kept(failing, tmp_path):
    plan, _, store = failing
    found = retry.find(store, [State.FAILED], ())
    log = EventLog(tmp_path / "events.jsonl")

    retry.retire(store, found, log)
    again = drive(plan, tmp_path)

    assert again.n_started == len(found)
    for one in found:
        manifest = one.manifest
        folder = store.paths.metrics(manifest.pid, manifest.method, manifest.trial_id).parent
        assert (folder / "metrics.retired-1.json").exists()
    events = EventReader(tmp_path / "events.jsonl").new()
    assert [event["trial_id"] for event in events] == [one.manifest.trial_id for one in found]


def test_a_study_that_its_failures_stopped_goes_on_after_a_retry(tmp_path):
    plan = toy_plan({"truth": 1.0, "trouble": "all"}, stop_after_failures=2, batch_size=1)
    drive(plan, tmp_path)
    store = ArtifactStore(tmp_path)
    assert drive(plan, tmp_path).n_started == 0

    retry.retire(store, retry.find(store, retry.FAILED, ()), EventLog())

    assert drive(plan, tmp_path).n_started == 2


def test_a_trial_that_runs_again_starts_from_the_beginning(failing):
    _, _, store = failing
    one = retry.find(store, retry.FAILED, ())[0]
    manifest = one.manifest
    folder = store.paths.metrics(manifest.pid, manifest.method, manifest.trial_id).parent
    Checkpoint(folder).save(b"stuck here")

    retry.retire(store, [one], EventLog())

    assert Checkpoint(folder).load() is None


def test_ids_are_taken_whatever_their_state_and_once(failing):
    _, result, store = failing
    good = next(iter(result.studies[0].successes)).manifest.trial_id

    found = retry.find(store, (), (good, good))

    assert [one.manifest.trial_id for one in found] == [good]


def test_all_unknown_ids_are_told_at_once(failing):
    _, _, store = failing

    with pytest.raises(SpecError, match=r"r_1: no trial(.|\n)*r_2: no trial"):
        retry.find(store, (), ("r_1", "r_2"))
