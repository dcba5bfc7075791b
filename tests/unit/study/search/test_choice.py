import json
from itertools import pairwise

import pytest
from parsl_optuna.execution.inline import InlineExecutor
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.events import EventLog
from parsl_optuna.study.driver import Driver
from parsl_optuna.study.search.choice import choose

from tests.toyrun import drive, toy_plan


def choice_of(n_known=0, seconds=(), **optuna):
    return choose(toy_plan(**optuna).studies[0], n_known, seconds)


def test_a_named_sampler_is_taken_whatever_happens():
    assert choice_of(sampler="tpe", seconds=(1e4,)).sampler == "tpe"
    assert choice_of(sampler="rank_gp", n_known=9999, seconds=(1e-3,)).sampler == "rank_gp"


def test_before_any_trial_has_ended_the_model_is_taken():
    assert choice_of(sampler="auto").sampler == "rank_gp"


@pytest.mark.parametrize(
    ("n_known", "trial_sec", "sampler"),
    [
        (100, 0.01, "tpe"),
        (100, 2.0, "tpe"),
        (100, 4.0, "rank_gp"),
        (1000, 4.0, "tpe"),
        (1000, 60.0, "rank_gp"),
    ],
)
def test_trials_shorter_than_proposals_for_all_workers_take_no_model(n_known, trial_sec, sampler):
    found = choice_of(n_known, [trial_sec] * 9, sampler="auto", batch_size=32, max_trials=2000)

    assert found.sampler == sampler


def test_thousands_of_trials_take_no_model():
    found = choice_of(sampler="auto", max_trials=20_000, seconds=(1e4,))

    assert found.sampler == "tpe"
    assert "20000" in found.reason


def test_the_choice_does_not_depend_on_the_order_of_ending():
    times = [0.1, 50.0, 60.0, 0.2, 70.0]

    assert choice_of(9, times, sampler="auto") == choice_of(9, times[::-1], sampler="auto")


def test_the_choice_is_on_record(tmp_path):
    events = EventLog(tmp_path / "events.jsonl")
    plan = toy_plan(sampler="auto", max_trials=4)

    Driver(plan, ArtifactStore(tmp_path), InlineExecutor(), lambda _: None, events=events).run()

    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    chosen = [line for line in lines if line["event"] == "sampler"]
    assert chosen
    assert all(line["sampler"] in ("rank_gp", "tpe") and line["reason"] for line in chosen)
    assert all(a["sampler"] != b["sampler"] for a, b in pairwise(chosen))


def test_a_configured_sampler_is_no_choice(tmp_path):
    (study,) = drive(toy_plan(sampler="tpe", max_trials=3), tmp_path).studies

    assert study.choice is None
