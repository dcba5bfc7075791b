"""Bundles of short trials, through real child processes."""

from tests.fakes import IsolatedExecutor
from tests.toyrun import drive, toy_plan


def test_short_trials_travel_together_as_soon_as_it_is_known_that_they_are_short(tmp_path):
    executor = IsolatedExecutor()

    result = drive(toy_plan(1.0, batch_size=16, max_trials=40), tmp_path, executor)

    assert [len(trials.ended) for trials in result.studies] == [40]
    assert set(executor.sizes[:16]) == {1}
    assert max(executor.sizes) == 4


def test_long_trials_travel_alone(tmp_path, monkeypatch):
    executor = IsolatedExecutor()
    monkeypatch.setattr("parsl_optuna.study.search.points.Trials.longest_sec", 0.011)

    drive(toy_plan(1.0, batch_size=16, max_trials=20), tmp_path, executor)

    assert set(executor.sizes) == {1}


def test_trials_of_a_lost_bundle_are_submitted_again_one_by_one(tmp_path):
    executor = IsolatedExecutor(lose=1)

    result = drive(toy_plan(1.0, batch_size=16, max_trials=40), tmp_path, executor)

    assert len(result.studies[0].ended) == 40
    lost = next(index for index, size in enumerate(executor.sizes) if size > 1)
    assert executor.sizes[lost + 1 :].count(1) >= executor.sizes[lost]
    assert sum(executor.sizes) == 1 + 40 + executor.sizes[lost]  # the reference, the trials, those again
    assert {e.outcome.state.value for t in result.studies for e in t.ended.values()} == {"ok"}
