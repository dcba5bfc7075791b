import random
from dataclasses import replace
from statistics import fmean

import pytest
from parsl_optuna.study.search.confirm import most, recommend

from tests.replicates import played, points_of
from tests.toyrun import drive, toy_plan


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A study of 100 points, as it ended."""
    plan = toy_plan(max_trials=100, batch_size=20, sampler="random", confirm=0)
    return drive(plan, tmp_path_factory.mktemp("searched")).studies[0]


def test_a_lucky_point_is_not_chosen(searched):
    study, points, best = points_of(searched, [0.1, 1.0, 1.1, 1.2, 1.3, 9.0])

    chosen, _ = played(study, points, best, lambda point, seed: 5.0 if point is best else 1.05)

    assert chosen.chosen is points[1]
    assert [run.values for run in chosen.fresh] == [(1.05,), (1.05,)]


def test_a_point_that_keeps_its_value_stays(searched):
    study, points, best = points_of(searched, [0.1, 1.0, 1.1, 1.2, 1.3, 9.0])

    chosen, confirmed = played(study, points, best, lambda point, seed: point.values[0])

    assert chosen.chosen is best
    assert len(confirmed) == most(study) == 7  # one for each of five, another one for two of them


def test_a_failed_replicate_is_worse_than_any_value(searched):
    study, points, best = points_of(searched, [0.1, 1.0, 1.1, 1.2, 1.3])

    chosen, _ = played(study, points, best, lambda point, seed: None if point is best else 2.0)

    assert chosen.chosen is points[1]


def test_points_that_cannot_be_told_apart_race_for_a_tenth_of_the_trials(searched):
    study, points, best = points_of(searched, [1.0, 1.01, 1.5, 1.6, 1.7])
    noise = random.Random(0)

    _, confirmed = played(study, points, best, lambda point, seed: point.values[0] + noise.gauss(0.0, 0.3))

    assert 7 < len(confirmed) <= 10


def test_the_order_of_ending_changes_nothing(searched):
    study, points, best = points_of(searched, [1.0, 1.01, 1.1, 1.2, 1.3])

    def draw(point, seed):
        return point.values[0] + random.Random(f"{point.manifest.trial_id}{seed}").gauss(0.0, 0.3)

    found = [played(study, points, best, draw, random.Random(i))[0] for i in range(5)]

    assert len({one.chosen.manifest.trial_id for one in found}) == 1
    assert len({one.fresh[0].values for one in found}) == 1


def test_a_small_study_confirms_its_best_point_alone(searched):
    _, points, best = points_of(searched, [0.1, 1.0, 1.1])
    study = toy_plan(max_trials=20, confirm=2).studies[0]

    chosen, confirmed = played(study, points, best, lambda point, seed: 9.0)

    assert chosen.chosen is best
    assert len(confirmed) == most(study) == 2


def test_an_objective_without_noise_runs_nothing_again(searched):
    _, points, best = points_of(searched, [0.1, 1.0, 1.1])

    found = recommend(toy_plan(max_trials=100, confirm=0).studies[0], points, best, [])

    assert found.chosen is best
    assert found.missing == ()


def test_a_study_recommends_what_it_has_confirmed(tmp_path):
    plan = toy_plan(max_trials=60, batch_size=10, sampler="random", confirm=2)

    study = drive(plan, tmp_path).studies[0]

    chosen, again = study.best(), study.confirmations()
    assert len(again) >= 2
    assert len({e.manifest.seed for e in study.state.confirmed.values()}) >= 2
    mean = fmean([next(iter(chosen.objectives.values())), *again])
    best = fmean([next(iter(study.state.best.objectives.values()))])
    assert mean < float("inf")
    assert best <= next(iter(chosen.objectives.values()))


def test_a_resumed_study_repeats_no_replicate(tmp_path):
    plan = toy_plan(max_trials=60, batch_size=10, sampler="random", confirm=2)
    first = drive(plan, tmp_path)

    again = drive(plan, tmp_path)

    assert again.n_started == 0
    assert again.studies[0].best().manifest.trial_id == first.studies[0].best().manifest.trial_id
    assert again.studies[0].confirmations() == first.studies[0].confirmations()


def test_a_point_most_of_whose_trials_are_infeasible_is_not_chosen(searched):
    study, points, _ = points_of(searched, [0.1, 1.0, 1.1])
    points[0] = replace(points[0], violations={"m <= 0": 0.5})

    chosen, _ = played(study, points, points[1], lambda point, seed: point.values[0])

    assert chosen.chosen is points[1]
