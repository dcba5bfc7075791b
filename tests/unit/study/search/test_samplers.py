import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.spec import SAMPLERS
from parsl_optuna.study.search.search import Search

from tests.toyrun import drive, rows, toy_plan
from tests.unit.study.test_driver import KilledExecutor

SPACES = {"grid": {"x": {"choices": [-1.0, 0.0, 1.0]}}, "brute_force": {"x": {"choices": [-1.0, 0.0, 1.0]}}}
PARAMS = {
    "partial_fixed": {"fixed_params": {"k": 3}},
    "nsgaii": {"population_size": 4},
    "nsgaiii": {"population_size": 4},
}


def plan_with(name, **optuna):
    sampler = {"name": name, **PARAMS.get(name, {})}
    optuna = {"max_trials": 12, "batch_size": 1, "n_startup_trials": 3} | optuna
    return toy_plan(sampler=sampler, search_space={"guess": SPACES.get(name, {})}, **optuna)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [name for name in SAMPLERS if name != "auto"]
)  # goes by the time trials take
def test_every_sampler_runs_a_study_and_gives_the_same_table_when_interrupted(tmp_path, name):
    whole = drive(plan_with(name), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        drive(plan_with(name), tmp_path / "cut", KilledExecutor(8, mid_trial=True))
    resumed = drive(plan_with(name), tmp_path / "cut")

    assert len(whole.studies[0].ended) == 12
    assert rows(resumed) == rows(whole)


STEPS = {
    "x": {"low": -1.0, "high": 1.0, "step": 0.1},
    "k": {"choices": [1, 2, 4, 8], "ordered": True},
}


@pytest.mark.parametrize("name", ["rank_gp", "tpe", "nsgaii", "grid"])
def test_steps_and_orders_are_the_same_when_interrupted(tmp_path, name):
    sampler = {"name": name, **PARAMS.get(name, {})}
    plan = toy_plan(
        sampler=sampler, search_space={"guess": STEPS}, max_trials=12, batch_size=1, n_startup_trials=3
    )
    whole = drive(plan, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        drive(plan, tmp_path / "cut", KilledExecutor(8, mid_trial=True))

    assert rows(drive(plan, tmp_path / "cut")) == rows(whole)
    points = [one.manifest.hyperparams for one in whole.studies[0].ended.values()]
    assert all(point["x"] == round(point["x"], 1) for point in points)
    assert {point["k"] for point in points} <= {1, 2, 4, 8}


def test_grid_takes_every_point_once_in_order(tmp_path):
    space = {"x": {"choices": [0.0, 1.0]}, "k": {"choices": [1, 2]}, "kind": "plain"}
    result = drive(
        toy_plan(sampler="grid", search_space={"guess": space}, batch_size=3, max_trials=9), tmp_path
    )

    trials = result.studies[0]
    points = [(h["x"], h["k"]) for h in (e.manifest.hyperparams for e in sorted_by_number(trials))]
    assert points == [(0.0, 1), (0.0, 2), (1.0, 1), (1.0, 2)]
    assert "all 4 points" in trials.stopped


def sorted_by_number(trials):
    return sorted(trials.ended.values(), key=lambda e: e.asked.number)


def test_the_last_points_of_a_small_space_are_found(tmp_path):
    space = {"x": 0.0, "k": {"choices": list(range(1, 60))}, "kind": "plain"}
    plan = toy_plan(search_space={"guess": space}, max_trials=100, batch_size=5, sampler="tpe")

    trials = drive(plan, tmp_path).studies[0]

    assert len(trials.ended) == 59
    assert len({e.manifest.hyperparams["k"] for e in trials.ended.values()}) == 59


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        ("tpee", "did you mean 'tpe'"),
        ({"multivariate": True}, "name is missing"),
        ({"name": "tpe", "multivariat": True}, "did you mean 'multivariate'"),
        ({"name": "tpe", "seed": 3}, "is set by the study"),
        ({"name": "tpe", "weights": [1]}, "plain value"),
        ({"name": "partial_fixed"}, "fixed_params"),
        ("grid", "needs a finite space; give 'x' a step or choices"),
        ("brute_force", "needs a finite space; give 'x' a step or choices"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, sampler, words):
    with pytest.raises(SpecError) as caught:
        drive(toy_plan(sampler=sampler), tmp_path)

    assert words in str(caught.value)


def test_cmaes_refuses_two_objectives():
    with pytest.raises(SpecError, match="one objective only"):
        Search(toy_plan(sampler="cmaes").studies[0], 2)
