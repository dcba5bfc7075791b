"""Predictions: against hand-made mixes whose makespan is known, and against a real run."""

import time

import pytest
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study import simulation as simulate
from parsl_optuna.study.search.search import Search
from parsl_optuna.study.simulation import predict

from tests.toyrun import drive, toy_plan


def test_budgets_count_where_nothing_is_known(tmp_path):
    plan = toy_plan(1.0, batch_size=4, max_trials=8, method_budget_sec=100, hmc_budget_sec=300)
    one, two, many = predict(plan, ArtifactStore(tmp_path), [1, 2, 100])

    assert one.makespan_sec == pytest.approx(300 + 8 * 100, rel=0.01)
    assert one.utilisation == pytest.approx(1.0, rel=0.01)
    assert two.makespan_sec < one.makespan_sec
    # The first batch runs beside the reference, the second one when it is there.
    assert many.makespan_sec == pytest.approx(300 + 100, rel=0.01)
    assert (one.trials, one.measured, one.most_in_flight) == (9, 0.0, 4)
    assert not any(tmp_path.iterdir())


def test_times_that_were_measured_count(tmp_path, monkeypatch):
    monkeypatch.setattr(
        simulate, "_time_of_proposal", lambda study, size: 0.001
    )  # else, that of a busy machine
    plan = toy_plan({"truth": 1.0, "sleep_sec": 0.05}, batch_size=4, max_trials=4)
    longer = toy_plan({"truth": 1.0, "sleep_sec": 0.05}, batch_size=4, max_trials=12)
    (study,) = drive(plan, tmp_path).studies
    mean = sum(entry.outcome.runtime_sec for entry in study.ended.values()) / 4

    (prediction,) = predict(longer, ArtifactStore(tmp_path), [1])

    assert prediction.trials == 8
    assert prediction.measured == 1.0
    assert prediction.makespan_sec == pytest.approx(8 * mean, rel=0.5, abs=0.1)


def test_a_finished_run_takes_no_time(tmp_path):
    plan = toy_plan(1.0)
    drive(plan, tmp_path)

    (prediction,) = predict(plan, ArtifactStore(tmp_path), [10])

    assert (prediction.trials, prediction.makespan_sec, prediction.worker_hours) == (0, 0.0, 0.0)


def test_several_problems_and_methods_share_the_workers(tmp_path):
    plan = toy_plan(
        1.0,
        2.0,
        methods=("guess", "other"),
        batch_size=8,
        max_trials=24,
        method_budget_sec=10,
        hmc_budget_sec=20,
    )
    (prediction,) = predict(plan, ArtifactStore(tmp_path), [4])

    assert prediction.trials == 2 + 2 * 24 + 2 * 6  # method 'other' has six points
    assert prediction.utilisation_before_last > 0.98
    assert prediction.makespan_sec == pytest.approx((2 * 20 + 60 * 10) / 4, rel=0.05)


def test_a_slow_search_is_counted_as_the_drivers_own_time(tmp_path, monkeypatch):
    plan = toy_plan(1.0, batch_size=50, max_trials=100, sampler="random", method_budget_sec=1)
    told = Search.tell

    def tell_slowly(*given):
        time.sleep(0.03)
        told(*given)

    monkeypatch.setattr(Search, "tell", tell_slowly)

    (prediction,) = predict(plan, ArtifactStore(tmp_path), [50])

    assert prediction.driver_sec > 100 * 0.03


def test_the_search_is_timed_once_for_all_numbers_of_workers(tmp_path, monkeypatch):
    plan = toy_plan(1.0, batch_size=4, max_trials=8, sampler="random")
    timed = []

    def time_it(study, size):
        timed.append((study.method, size))
        return 0.001

    monkeypatch.setattr(simulate, "_time_of_proposal", time_it)

    predict(plan, ArtifactStore(tmp_path), [1, 2, 4])

    assert timed
    assert len(timed) == len(set(timed))


def test_the_cost_of_a_proposal_lies_between_those_that_were_timed_and_grows_on_beyond(tmp_path, monkeypatch):
    """Timed at 10, 100 and 1,000 trials as their square: linear in between, the same power beyond."""
    monkeypatch.setattr(simulate, "_time_of_proposal", lambda study, size: 1e-7 * size**2)
    monkeypatch.setattr(simulate, "_SIZES", (10, 100, 1000))
    plan = toy_plan(max_trials=10_000, sampler="random")

    (cost,) = simulate._proposal_costs(plan).values()

    assert cost(1) == cost(10) == pytest.approx(1e-5)
    assert cost(55) == pytest.approx((1e-5 + 1e-3) / 2)
    assert cost(1000) == pytest.approx(0.1)
    assert cost(4000) == pytest.approx(1.6)


def test_another_problem_s_times_are_better_than_none(tmp_path):
    drive(toy_plan({"truth": 1.0, "sleep_sec": 0.01}, batch_size=4, max_trials=4), tmp_path)

    both = toy_plan({"truth": 1.0, "sleep_sec": 0.01}, 2.0, batch_size=4, max_trials=4)
    (prediction,) = predict(both, ArtifactStore(tmp_path), [1])

    assert (prediction.trials, prediction.measured) == (5, 1.0)
