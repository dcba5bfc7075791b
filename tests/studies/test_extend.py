"""Longer runs that go on from shorter ones, in real child processes."""

import pytest
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.progress import reports
from parsl_optuna.worker import execute as worker

from tests.fakes import IsolatedExecutor
from tests.toyrun import drive, toy_plan


@pytest.fixture
def executor():
    one = IsolatedExecutor()
    yield one
    one.close()


def plan_of(steps, log=None, **optuna):
    problem = {"truth": 1.0, "log": None if log is None else str(log)}
    return toy_plan(
        problem, methods=("walk",), search_space={"walk": {"steps": steps}}, **{"max_trials": 3} | optuna
    )


def steps_in(log):
    return [line for line in log.read_text().splitlines() if line.startswith("walk ") and "[" not in line]


def test_more_steps_go_on_from_the_end_of_fewer(tmp_path, executor):
    log = tmp_path / "log"
    short = drive(plan_of(5, log), tmp_path / "a", executor)
    assert len(steps_in(log)) == 15

    longer = drive(plan_of(8, log), tmp_path / "a", executor)

    assert len(steps_in(log)) == 15 + 9
    (before,), (after,) = short.studies, longer.studies
    assert {e.asked.by for e in after.ended.values()} == {"extend"}
    assert {e.asked.extends for e in after.ended.values()} == set(before.ended)
    assert [e.manifest.hyperparams["x"] for e in after.successes] == [
        e.manifest.hyperparams["x"] for e in before.successes
    ]
    assert drive(plan_of(8, log), tmp_path / "a", executor).n_started == 0


def test_it_gives_what_it_would_have_given_from_the_start(tmp_path, executor):
    drive(plan_of(5), tmp_path, executor)
    drive(plan_of(6), tmp_path, executor)
    (trials,) = drive(plan_of(9), tmp_path, executor).studies

    for ended in trials.ended.values():
        manifest = ended.manifest
        again = worker.replay(str(tmp_path), manifest.pid, manifest.method, manifest.trial_id)
        assert again["agrees"]
        told = reports(ArtifactStore(tmp_path).paths.progress(manifest.pid, "walk", manifest.trial_id))
        assert [step for step, _ in told] == list(range(9))


def test_new_points_come_after_those_that_go_on(tmp_path, executor):
    drive(plan_of(5, batch_size=1), tmp_path, executor)

    (trials,) = drive(plan_of(7, max_trials=5, batch_size=1), tmp_path, executor).studies

    assert [e.asked.by for e in trials.successes] == ["extend"] * 3 + ["search"] * 2


def test_fewer_steps_start_anew(tmp_path, executor):
    drive(plan_of(5), tmp_path, executor)

    (trials,) = drive(plan_of(3), tmp_path, executor).studies

    assert {e.asked.extends for e in trials.ended.values()} == {None}


def test_nothing_is_kept_where_it_is_not_wanted(tmp_path, executor):
    result = drive(plan_of(5), tmp_path, executor)
    store = ArtifactStore(tmp_path)
    manifests = [entry.manifest for entry in result.studies[0].ended.values()]
    assert all(store.has_checkpoint(manifest) for manifest in manifests)

    guesses = drive(toy_plan(1.0), tmp_path, executor)

    assert not any(store.has_checkpoint(e.manifest) for e in guesses.studies[0].ended.values())
