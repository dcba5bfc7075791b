import json
import pickle
import random
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState
from parsl_optuna.core.records import Asked
from parsl_optuna.core.space import Categorical, Float, Int, Space
from parsl_optuna.study.search.search import Search

from tests.toyrun import toy_plan


def make(**optuna):
    return Search(toy_plan(**optuna).studies[0], 1)


def test_asks_depend_on_what_was_told_and_not_on_the_process():
    first, second = make(), make()
    told = []
    for number in range(6):
        point = first.ask(number)
        told.append((number, point, (abs(point["x"]),)))
        first.tell(number, told[-1][2])
    for number, point, values in told:
        second.restore(number, point, values, Asked(number, "", "search"), ended=True)

    assert first.ask(6) == second.ask(6)


@pytest.mark.skipif(
    int(optuna.__version__.split(".")[0]) < 5, reason="this TPE looks at each parameter alone"
)
def test_what_all_trials_have_in_common_is_not_found_anew_for_every_proposal():
    """It would be read off all of them. Optuna keeps it in a private attribute, which may be renamed."""
    search = make(sampler="tpe", n_startup_trials=2)
    for number in range(8):
        search.ask(number)
        search.tell(number, [float(number)])

    common = [search._sampler(number, 0)._search_space for number in (8, 9)]
    assert common[0] is common[1]
    assert common[0]._search_space is not None


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii"])  # the second one is restored by asking again
def test_a_pruned_trial_is_pruned_at_its_value_when_it_ends_and_when_it_is_restored(sampler):
    """Told as failed, it would teach the sampler nothing."""
    live, restored = make(sampler=sampler), make(sampler=sampler)
    point = live.ask(0)

    live.tell(0, None, pruned_at=0.5)
    restored.restore(0, point, None, Asked(0, "", "search"), ended=True, pruned_at=0.5)

    for search in (live, restored):
        (trial,) = pickle.loads(search.pickled()).trials
        assert (trial.state, trial.value) == (TrialState.PRUNED, 0.5)


def test_another_attempt_is_another_point():
    search = make()

    assert search.ask(0, 0) != search.ask(0, 1)


def test_points_lie_in_the_space():
    plan = toy_plan().studies[0]
    search = Search(plan, 1)
    for number in range(20):
        point = search.ask(number)
        assert plan.space.contains(point)
        search.tell(number, (point["x"] ** 2,))


def test_a_partial_guess_is_completed():
    point = make().suggest(0, {"k": 3})

    assert point["k"] == 3
    assert set(point) == {"x", "k", "kind"}


def test_a_failed_trial_is_failed_and_not_infinity():
    search = make()
    search.ask(0)

    search.tell(0, None)

    assert [trial.state.name for trial in search._study.trials] == ["FAIL"]


def test_tpe_beats_random_on_a_bowl():
    def best(sampler, seed):
        search = make(sampler=sampler, seed=seed, n_startup_trials=5)
        values = []
        for number in range(40):
            point = search.ask(number)
            values.append(point["x"] ** 2 + (point["k"] - 4) ** 2 + (point["kind"] == "plain"))
            search.tell(number, (values[-1],))
        return min(values)

    wins = sum(best("tpe", seed) < best("random", seed) for seed in range(8))
    assert wins >= 6  # a coin would do so one time in seven


def test_auto_chooses_by_the_trials_of_an_earlier_life_too():
    plan = {"sampler": "auto", "batch_size": 32, "max_trials": 500}
    live, again = make(**plan), make(**plan)
    for number in range(12):
        point = live.ask(number)
        live.tell(number, (point["x"],), seconds=2.0)  # between batch times cost of an ask now, and later
        again.restore(number, point, (point["x"],), Asked(number, "", "search"), ended=True, seconds=2.0)

    assert live.ask(12) == again.ask(12)
    assert live.choice == again.choice


def test_a_refused_point_is_no_failure_that_the_sampler_learns_from():
    first, second = make(sampler="rank_gp"), make(sampler="rank_gp")
    for search in (first, second):
        for number in range(6):
            search.tell(number, (abs(search.ask(number)["x"]),))
    first.ask(6)
    first.refuse(6)
    first.ask(6, 1)
    second.ask(6, 0)
    second.refuse(6)
    second.ask(6, 1)
    first.tell(6, (0.5,))
    second.tell(6, (0.5,))
    third = make(sampler="rank_gp")
    for trial in (t for t in first._study.trials if t.state.name == "COMPLETE"):
        number = min(trial.number, 6)
        third.restore(number, trial.params, trial.values, Asked(number, "", "search"), ended=True)

    assert first.ask(7) == second.ask(7) == third.ask(7)


CONDITIONAL = Space(
    {
        "momentum": Float(0.0, 1.0),
        "optimizer": Categorical(("sgd", "adam")),
        "layers": Int(1, 3),
        "width": Int(4, 64, log=True),
    },
    {},
    {"momentum": {"optimizer": ("sgd",), "layers": (2, 3)}, "width": {"layers": (2, 3)}},
)
DISCRETE = Space(
    {"a": Categorical(("x", "y")), "b": Int(1, 3), "c": Categorical((True, False))},
    {},
    {"b": {"a": ("x",)}, "c": {"b": (2,)}},
)


def conditional(sampler, space=CONDITIONAL, **optuna):
    study = toy_plan(sampler=sampler, n_startup_trials=4, **optuna).studies[0]
    return Search(replace(study, space=space), 1)


def value(point):
    return (1.0 - point.get("momentum", 0.0) + 0.1 * point["layers"],)


GROUPED = {"name": "tpe", "multivariate": True, "group": True}


@pytest.mark.parametrize(
    "sampler", ["rank_gp", "tpe", GROUPED, "random", "gp", "cmaes", "nsgaii", "nsgaiii", "qmc"]
)
def test_a_sampler_proposes_points_without_what_is_inactive(sampler):
    search = conditional(sampler)
    points = []
    for number in range(14):
        points.append(search.ask(number))
        search.tell(number, value(points[-1]))

    assert all(CONDITIONAL.contains(point) for point in points)
    assert {"momentum" in point for point in points} == {True, False}


@pytest.mark.parametrize("sampler", ["rank_gp", "tpe"])
def test_a_resumed_search_of_a_conditional_space_proposes_the_same(sampler):
    first, second = conditional(sampler), conditional(sampler)
    for number in range(8):
        point = first.ask(number)
        first.tell(number, value(point))
        second.restore(number, point, value(point), Asked(number, "", "search"), ended=True)

    assert [first.ask(8), first.ask(9)] == [second.ask(8), second.ask(9)]


def mixed(number, point):
    """Return what `tell` takes of a trial: some fail, some are pruned, and a constraint is kept or missed."""
    if point["layers"] == 3 and number % 2:
        return {"values": None}
    (found,) = value(point)
    violations = {"small": point.get("width", 4) - 20.0, "sure": max(0.0, point["layers"] - 1.5)}
    if number % 5 == 4:
        return {"values": None, "pruned_at": found, "violations": violations}
    return {"values": (found,), "violations": violations}


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_ending_and_a_resumed_search_give_the_same_proposals(seed):
    """Of conditions, constraints, failed and pruned trials, and with two trials still running."""

    def made():
        study = toy_plan(sampler="rank_gp", n_startup_trials=4, seed=seed).studies[0]
        return Search(replace(study, space=CONDITIONAL), 1, is_constrained=True)

    first, second, third = made(), made(), made()
    points = [first.ask(number) for number in range(10)]  # all in flight together
    assert [second.ask(number) for number in range(10)] == points
    for number in range(8):
        first.tell(number, **mixed(number, points[number]))
    for number in random.Random(seed).sample(range(8), 8):
        second.tell(number, **mixed(number, points[number]))
    for number, point in enumerate(points):
        told = mixed(number, point) if number < 8 else {"values": None}
        third.restore(number, point, asked=Asked(number, "", "search"), ended=number < 8, **told)

    found = [[search.ask(number) for number in range(10, 14)] for search in (first, second, third)]

    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("sampler", ["grid", "brute_force"])
def test_a_grid_lists_a_conditional_space(sampler):
    search = conditional(sampler, DISCRETE)
    found = []
    for number in range(5):
        found.append(search.ask(number))
        search.tell(number, (float(number),))

    assert sorted(map(json.dumps, found)) == sorted(map(json.dumps, DISCRETE.points()))


def test_a_model_finds_what_only_a_conditional_parameter_gives():
    """The least value is at momentum 1 and layers 2; the mean of 14 random points comes to 0.95."""
    search = conditional("rank_gp", seed=3)
    best = 9.0
    for number in range(30):
        point = search.ask(number)
        best = min(best, *value(point))
        search.tell(number, value(point))

    assert best < 0.25


def proposed(sampler, *, is_constrained, is_restored=False):
    """Return later values of x where the least objectives, x, are infeasible: the more so, the less x is."""
    plan = toy_plan(max_trials=60, sampler=sampler, n_startup_trials=10).studies[0]
    search, told = Search(plan, 1, is_constrained=is_constrained), []
    for number in range(30):
        point = search.ask(number)
        told.append((number, point, (point["x"],), max(0.0, -point["x"])))
        search.tell(number, told[-1][2], violations={"x": told[-1][3]} if is_constrained else {})
    if is_restored:
        search = Search(plan, 1, is_constrained=is_constrained)
        for number, point, values, violation in told:
            asked = Asked(number, "", "search")
            search.restore(number, point, values, asked, ended=True, violations={"x": violation})
    return [search.ask(30 + attempt, attempt)["x"] for attempt in range(8)]


def test_infeasible_trials_keep_a_search_away():
    free, kept_away = (proposed("rank_gp", is_constrained=given) for given in (False, True))

    assert sum(kept_away) / 8 > sum(free) / 8 + 0.5


def test_violations_are_restored():
    told, restored = (proposed("rank_gp", is_constrained=True, is_restored=given) for given in (False, True))

    assert restored == told


SMALL = {"name": "nsgaii", "population_size": 10}


@pytest.mark.parametrize(
    ("sampler", "count"),
    [("rank_gp", 25), ("tpe", 25), pytest.param("gp", 25, marks=pytest.mark.slow), (SMALL, 75)],
)
def test_a_sampler_learns_of_constraints(sampler, count):
    """The objective is least at -2, where a constraint is missed: points stay nearer to 0, its border."""

    def mean_of_last(limit):
        search = Search(toy_plan(sampler=sampler, n_startup_trials=5).studies[0], 1, is_constrained=True)
        points = []
        for number in range(count):
            points.append(search.ask(number))
            search.tell(number, (points[-1]["x"],), violations={"x": limit - points[-1]["x"]})
        return sum(point["x"] for point in points[-15:]) / 15

    assert mean_of_last(0.0) > mean_of_last(-2.0) + 0.5
