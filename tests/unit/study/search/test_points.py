import pickle
from collections import Counter
from dataclasses import replace

import pytest
from optuna.trial import TrialState
from parsl_optuna.core.clock import utc_now
from parsl_optuna.core.records import Asked, State
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.active import ActiveStudy
from parsl_optuna.study.driver import Driver
from parsl_optuna.study.search.search import Search
from parsl_optuna.worker.execute import failure

from tests.fakes import ShuffledExecutor
from tests.toyrun import drive, numbered, rows, toy_plan


def reopened(plan, folder):
    names = plan.task.reference.comparison
    store = ArtifactStore(folder)
    trusted = store.reference(plan.problems[0].pid, names.reference, names.reference_se)
    return ActiveStudy(plan, plan.studies[0], store, {plan.problems[0].pid: trusted})


def test_a_study_is_rebuilt_from_files_alone(tmp_path):
    plan = toy_plan()
    result = drive(plan, tmp_path)

    again = reopened(plan, tmp_path)

    assert rows(result)[0] == [
        (e.asked.number, e.manifest.trial_id, e.outcome.state.value, e.values) for e in numbered(again)
    ]
    assert again.next() is None
    assert not again.is_searching


def test_a_larger_max_trials_goes_on_from_there(tmp_path):
    short = drive(toy_plan(max_trials=4, batch_size=1), tmp_path / "a")
    drive(toy_plan(max_trials=9, batch_size=1), tmp_path / "a")
    longer = drive(toy_plan(max_trials=9, batch_size=1), tmp_path / "a")
    straight = drive(toy_plan(max_trials=9, batch_size=1), tmp_path / "b")

    assert longer.n_started == 0
    assert rows(longer) == rows(straight)
    assert rows(short)[0] == rows(straight)[0][:4]


def test_trials_of_another_budget_or_space_are_not_mine(tmp_path):
    drive(toy_plan(), tmp_path)

    assert not reopened(toy_plan(method_budget_sec=1), tmp_path).ended
    narrow = reopened(toy_plan(search_space={"guess": {"k": {"high": 2}}}), tmp_path)
    assert all(e.manifest.hyperparams["k"] <= 2 for e in narrow.ended.values())
    assert len(narrow.ended) < 6


def test_an_unfinished_manifest_is_submitted_again_first(tmp_path):
    plan = toy_plan()
    result = drive(plan, tmp_path)
    victim = numbered(result.studies[0])[2].manifest
    ArtifactStore(tmp_path).paths.metrics(victim.pid, victim.method, victim.trial_id).unlink()

    again = reopened(plan, tmp_path)

    assert again.next().manifest == victim
    assert again.next() is None


def test_no_point_is_asked_twice_and_a_small_space_ends(tmp_path):
    space = {"other": {"k": {"low": 1, "high": 3}}}

    result = drive(toy_plan(methods=("other",), search_space=space, max_trials=50), tmp_path)

    trials = result.studies[0]
    points = Counter(tuple(sorted(e.manifest.hyperparams.items())) for e in trials.ended.values())
    assert len(points) == 6
    assert set(points.values()) == {1}
    assert "all 6 points" in trials.stopped


def test_first_guesses_come_first_and_once(tmp_path):
    guesses = {"guess": [{"x": 0.5, "k": 2, "kind": "plain"}, {"x": 0.5, "k": 2, "kind": "plain"}, {"k": 3}]}

    result = drive(toy_plan(enqueue=guesses), tmp_path)

    ended = numbered(result.studies[0])
    assert [e.asked.by for e in ended[:3]] == ["enqueue", "enqueue", "search"]
    assert ended[0].manifest.hyperparams == guesses["guess"][0]
    assert ended[1].manifest.hyperparams["k"] == 3


def test_the_best_point_is_run_again_on_fresh_seeds(tmp_path):
    result = drive(toy_plan(confirm=3), tmp_path)

    trials = result.studies[0]
    assert {e.manifest.seed for e in trials.state.confirmed.values()} == {1, 2, 3}
    assert {tuple(e.manifest.hyperparams.items()) for e in trials.state.confirmed.values()} == {
        tuple(trials.best().manifest.hyperparams.items())
    }
    assert len(trials.ended) == 6


def test_a_study_whose_first_trials_all_fail_is_stopped_with_the_reason(tmp_path):
    result = drive(toy_plan({"truth": 1.0, "trouble": "all"}, stop_after_failures=3), tmp_path)

    trials = result.studies[0]
    assert len(trials.ended) in (3, 4)  # one more was in flight
    assert "ValueError: x is too large" in trials.stopped


def test_a_lost_trial_gets_another_chance_at_the_next_start(tmp_path):
    plan = toy_plan()
    result = drive(plan, tmp_path)
    store = ArtifactStore(tmp_path)
    victim = numbered(result.studies[0])[1]
    store.retire(victim.manifest)
    store.commit(victim.manifest, replace(victim.outcome, state=State.LOST))

    again = drive(plan, tmp_path)

    assert again.n_started == 1
    assert rows(again) == rows(result)


def test_an_older_duplicate_number_is_renumbered(tmp_path):
    plan = toy_plan(max_trials=2, batch_size=1)
    drive(plan, tmp_path)
    store = ArtifactStore(tmp_path)
    study = plan.studies[0]
    manifest = plan.manifest(study, study.hyperparams({"x": 0.1, "k": 1, "kind": "plain"}), 0)
    store.put_manifest(manifest, Asked(1, "2020-01-01T00:00:00+00:00", "search"))

    again = reopened(plan, tmp_path)

    assert again.next().manifest == manifest


def test_a_point_that_was_asked_ahead_is_the_next_one_and_needs_no_search(tmp_path, monkeypatch):
    trials = reopened(toy_plan(sampler="tpe"), tmp_path)
    trials.next()
    trials.ask_ahead()
    trials.ask_ahead()
    monkeypatch.setattr(Search, "ask", lambda *_, **__: pytest.fail("asked again"))

    assert trials.next().asked.number == 1


@pytest.mark.parametrize(
    ("seconds", "ready"),
    [
        ([60.0] * 32, 8),  # all end together: a quarter of those in flight
        ([60.0 + i for i in range(32)], 1),  # one by one
        ([60.0 + i for i in range(28)] + [90.0] * 4, 4),  # up to four of them
    ],
)
def test_as_many_points_are_ready_as_may_end_together(tmp_path, seconds, ready):
    plan = toy_plan(sampler="random", batch_size=32, max_trials=200, stop_after_failures=0)
    trials = reopened(plan, tmp_path)
    for sec in seconds:
        trial = trials.next()
        trials.start(trial)
        trials.end(trial, replace(failure(trial.manifest, State.FAILED, "no"), runtime_sec=sec))

    assert sum(trials.ask_ahead() for _ in range(40)) == ready


def test_with_one_trial_in_flight_nothing_is_asked_ahead(tmp_path, monkeypatch):
    trials = reopened(toy_plan(batch_size=1), tmp_path)
    monkeypatch.setattr(Search, "ask", lambda *_, **__: pytest.fail("asked"))

    trials.ask_ahead()


def test_what_was_asked_ahead_is_dropped_when_the_study_stops(tmp_path):
    trials = reopened(toy_plan(batch_size=4, confirm=2, replicates=2), tmp_path)
    trials.ask_ahead()
    trials.state.stopped("enough")

    assert trials.next() is None
    assert not trials.is_searching


def test_asking_ahead_is_bounded_by_the_number_of_trials_and_by_the_space(tmp_path, monkeypatch):
    def eager(self):
        for trials in self._studies.values():
            trials.ask_ahead()

    monkeypatch.setattr(Driver, "_ask_ahead", eager)
    few = {"other": {"k": {"low": 1, "high": 3}}}

    seven = drive(toy_plan(max_trials=7, batch_size=3, replicates=2), tmp_path / "a", ShuffledExecutor(1))
    all_six = drive(
        toy_plan(methods=("other",), search_space=few, max_trials=50), tmp_path / "b", ShuffledExecutor(2)
    )

    (study,) = seven.studies
    assert (len(study.ended), len(study.runs)) == (7, 14)
    assert {e.asked.number for e in study.ended.values()} == set(range(7))
    assert len(all_six.studies[0].ended) == 6


def test_the_search_hears_of_a_pruned_trial_as_pruned_now_and_after_a_new_start(tmp_path):
    drive(toy_plan(max_trials=3, pruner="median"), tmp_path)
    plan, store = toy_plan(max_trials=8, pruner="median"), ArtifactStore(tmp_path)
    study = reopened(plan, tmp_path)
    trial = study.next()
    store.put_manifest(trial.manifest, replace(trial.asked, at=utc_now()))
    outcome = replace(failure(trial.manifest, State.PRUNED, "no"), metrics={"value": 3.5, "se": 0.1})
    store.commit(trial.manifest, outcome)

    study.start(trial)
    study.end(trial, outcome)

    for one in (study, reopened(plan, tmp_path)):
        trials = pickle.loads(one.search.pickled()).trials
        assert [found.value for found in trials if found.state == TrialState.PRUNED] == [2.5]
