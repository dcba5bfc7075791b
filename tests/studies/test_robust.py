"""One point on several problems."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.records import State
from parsl_optuna.study.pooling import Ranks

from tests.fakes import ShuffledExecutor
from tests.toyrun import drive, rows, toy_plan

LEFT, RIGHT = {"truth": 1.0, "best_x": -1.0}, {"truth": 2.0, "best_x": 1.0}


def plan_across(how, **optuna):
    return toy_plan(LEFT, RIGHT, across=how, **{"max_trials": 10, "batch_size": 4} | optuna)


@pytest.mark.parametrize(("how", "of"), [("mean", lambda v: sum(v) / len(v)), ("worst", max)])
def test_a_point_is_judged_by_all_its_problems(tmp_path, how, of):
    result = drive(plan_across(how), tmp_path, ShuffledExecutor(3))

    (trials,) = result.studies
    assert len(trials.ended) == 10
    assert len(trials.runs) == 20
    for point in trials.ended.values():
        x = point.manifest.hyperparams["x"]
        mine = [run.values[0] for run in trials.runs.values() if run.manifest.hyperparams["x"] == x]
        assert len(mine) == 2
        assert point.values[0] == pytest.approx(of(mine))
    assert trials.best().values[0] == min(point.values[0] for point in trials.ended.values())


def test_ranks_change_with_every_point(tmp_path):
    result = drive(plan_across("rank"), tmp_path, ShuffledExecutor(3))

    (trials,) = result.studies
    values = [point.values[0] for point in trials.ended.values()]
    assert sum(values) / len(values) == pytest.approx(0.5)
    assert trials.best().values[0] == min(values)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(["mean", "worst", "rank"]), st.integers(0, 10**6), st.integers(1, 3))
def test_it_is_rebuilt_from_files_alone(tmp_path_factory, how, seed, replicates):
    plan = plan_across(how, max_trials=5, replicates=replicates)
    folder = tmp_path_factory.mktemp("a")
    first = drive(plan, folder, ShuffledExecutor(seed))

    again = drive(plan, folder)

    assert again.n_started == 0
    assert rows(again) == rows(first)


def test_the_best_point_is_confirmed_on_every_problem(tmp_path):
    result = drive(plan_across("mean", confirm=2), tmp_path, ShuffledExecutor(1))

    (trials,) = result.studies
    confirmed = list(trials.state.confirmed.values())
    assert {(run.manifest.pid, run.manifest.seed) for run in confirmed} == {
        (instance.pid, seed) for instance in trials.study.instances for seed in (1, 2)
    }
    assert len(trials.confirmations()) == 2


def test_a_point_that_fails_on_one_problem_has_failed(tmp_path):
    failing = RIGHT | {"trouble": "some"}
    result = drive(toy_plan(LEFT, failing, across="mean", max_trials=10), tmp_path, ShuffledExecutor(1))

    (trials,) = result.studies
    assert {point.values is None for point in trials.ended.values()} == {True, False}
    for point in trials.ended.values():
        assert (point.values is None) == (point.manifest.hyperparams["x"] > 0)


def test_trials_of_the_problems_by_themselves_are_used_but_not_all_completed(tmp_path):
    alone = drive(toy_plan(LEFT, max_trials=8), tmp_path)

    (trials,) = drive(plan_across("mean", max_trials=3), tmp_path).studies

    assert len(trials.ended) == 3
    assert {run.manifest.trial_id for run in trials.runs.values()} & set(alone.studies[0].runs)


def test_a_problem_without_its_reference_gives_the_study_up(tmp_path):
    plan = toy_plan(LEFT, RIGHT | {"trouble": "reference"}, across="mean")

    result = drive(plan, tmp_path, ShuffledExecutor(0))

    assert result.studies == ()
    assert "no truth today" in result.failures[plan.studies[0].pid]


def test_ranks_are_means_over_problems_with_ties_shared(tmp_path):
    (trials,) = drive(plan_across("mean", max_trials=2), tmp_path).studies
    run = next(iter(trials.runs.values()))

    def value(number):
        return replace(run, objectives={"error": number})

    failed = replace(run, outcome=replace(run.outcome, state=State.FAILED))

    points = [
        [value(1.0), value(5.0)],
        [value(2.0), value(5.0)],
        [value(3.0), value(1.0)],
        [value(0), failed],
    ]
    ranks = Ranks({str(i): runs for i, runs in enumerate(points)})

    assert [ranks.of(str(i)) for i in range(4)] == [(0.375,), (0.625,), (0.5,), None]
    assert ranks.of("0", points[1]) == (0.5,)  # 0.25 of {2, 3}, and 0.75 of {5, 1}: itself is not counted


def test_what_cannot_go_together_is_told():
    with pytest.raises(SpecError, match=r"across: needs two problems"):
        toy_plan(LEFT, across="mean")
    with pytest.raises(SpecError, match="does not go with a pruner"):
        plan_across("mean", pruner="median")
    with pytest.raises(SpecError, match="target does not go with across: rank"):
        plan_across("rank", target=0.5)
    with pytest.raises(SpecError, match="across"):
        plan_across("best")
