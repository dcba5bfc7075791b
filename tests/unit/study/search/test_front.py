import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsl_optuna.study.search.front import pareto_front

from tests import replicates
from tests.replicates import played
from tests.toyrun import drive, toy_plan


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_dominates(values):
    front = pareto_front(values)

    assert front
    for index, mine in enumerate(values):
        dominated = any(o[0] <= mine[0] and o[1] <= mine[1] and o != mine for o in values)
        assert (index in front) == (not dominated)


@pytest.mark.parametrize("values", [[(1.0,)], [(2.0,), (1.0,), (1.0,)]])
def test_the_front_of_one_objective_is_its_minimum(values):
    assert [values[i] for i in pareto_front(values)] == [v for v in values if v == min(values)]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A study of two objectives and 100 points, as it ended."""
    plan = toy_plan(objectives=["error", "cost"], max_trials=100, batch_size=20, sampler="random", confirm=0)
    return drive(plan, tmp_path_factory.mktemp("searched")).studies[0]


def points_of(searched, values):
    return replicates.points_of(searched, values, objectives=["error", "cost"])


def test_a_lucky_member_leaves_the_front_and_who_joins_it_is_observed_too(searched):
    lucky, behind = (1.0, 1.0), (2.0, 2.0)
    study, points, best = points_of(searched, [lucky, behind, (0.5, 9.0), (9.0, 0.5), (9.5, 9.5)])

    found, _ = played(
        study, points, best, lambda point, _: (9.0, 9.0) if point is points[0] else point.values
    )

    assert [one.point for one in found.front] == [points[2], points[1], points[3]]
    assert [len(one.fresh) for one in found.front] == [2, 2, 2]


def test_the_choice_is_the_member_of_least_first_mean(searched):
    study, points, best = points_of(searched, [(0.1, 3.0), (0.5, 2.0), (0.9, 1.0)])

    found, _ = played(study, points, best, lambda point, _: (2.0, 0.9) if point is best else point.values)

    assert found.chosen is points[1]
    assert [run.values for run in found.fresh] == [(0.5, 2.0)] * 2


def test_a_front_that_the_budget_does_not_reach_is_observed_at_its_ends_too(searched):
    study, points, best = points_of(searched, [(float(i), 30.0 - i) for i in range(30)])

    found, confirmed = played(study, points, best, lambda point, _: point.values)

    assert len(confirmed) == 10  # a tenth of the trials
    counts = [len(one.fresh) for one in found.front]
    assert (counts[0], counts[-1], max(counts)) == (1, 1, 1)


def test_a_member_whose_fresh_replicate_fails_leaves_the_front(searched):
    study, points, best = points_of(searched, [(0.1, 3.0), (0.5, 2.0), (0.9, 1.0)])

    found, _ = played(study, points, best, lambda point, _: None if point is points[1] else point.values)

    assert [one.point for one in found.front] == [points[0], points[2]]


def test_a_member_most_of_whose_trials_are_infeasible_leaves_the_front(searched):
    study, points, best = points_of(searched, [(0.1, 3.0), (0.5, 2.0)])
    points[1] = replace(points[1], violations={"m <= 0": 0.5})

    found, _ = played(study, points, best, lambda point, _: point.values)

    assert [one.point for one in found.front] == [points[0]]


def test_the_order_of_ending_changes_no_front(searched):
    study, points, best = points_of(searched, [(float(i), 6.0 - i) for i in range(6)] + [(4.0, 4.0)])

    def draw(point, seed):
        noise = random.Random(f"{point.manifest.trial_id}{seed}")
        return tuple(value + noise.gauss(0.0, 1.0) for value in point.values)

    found = [played(study, points, best, draw, random.Random(i))[0] for i in range(5)]

    assert len({tuple((one.point.manifest.trial_id, one.means) for one in each.front) for each in found}) == 1


def test_a_study_of_two_objectives_runs_its_front_again_and_a_resumed_one_does_not(tmp_path):
    plan = toy_plan(objectives=["error", "cost"], max_trials=30, batch_size=5, sampler="random", confirm=1)

    study = drive(plan, tmp_path).studies[0]
    again = drive(plan, tmp_path)

    assert any(one.fresh for one in study.front())
    assert study.best() in [one.point for one in study.front()]
    assert again.n_started == 0
    assert [one.means for one in again.studies[0].front()] == [one.means for one in study.front()]


def test_leading_points_of_ranks_are_compared_by_the_ranks_of_fresh_replicates(tmp_path):
    plan = toy_plan(1.0, 2.0, across="rank", max_trials=60, batch_size=5, sampler="random", confirm=2)

    study = drive(plan, tmp_path).studies[0]

    seeds = {}
    for run in study.state.confirmed.values():
        seeds.setdefault(run.manifest.hyperparams["x"], []).append(run.manifest.pid)
    assert len(seeds) > 1  # leading points, not the best one alone
    assert all(len(set(pids)) == 2 for pids in seeds.values())
