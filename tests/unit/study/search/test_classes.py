"""Samplers and pruners of the user's own."""

import pickle

import optuna
import pytest
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from parsl_optuna.core.errors import SpecError
from parsl_optuna.study.search import classes
from parsl_optuna.study.search.pruners import make_pruner
from parsl_optuna.study.search.search import Search

from tests.toyrun import drive, rows, toy_plan
from tests.unit.study.test_driver import KilledExecutor

CODE = """
import random
import optuna
from optuna.samplers import BaseSampler, RandomSampler

class Walk(BaseSampler):
    '''Its state is in the instance alone.'''
    def __init__(self, width=0.5, seed=None):
        self._random, self._width, self._at = random.Random(seed), width, 0.5
    def infer_relative_search_space(self, study, trial):
        return {}
    def sample_relative(self, study, trial, search_space):
        return {}
    def sample_independent(self, study, trial, name, distribution):
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            return self._random.choice(distribution.choices)
        self._at = (self._at + self._random.uniform(0, self._width)) % 1.0
        value = distribution.low + self._at * (distribution.high - distribution.low)
        return round(value) if isinstance(distribution, optuna.distributions.IntDistribution) else value

class Stops(Walk):
    def after_trial(self, study, trial, state, values):
        study.stop()

class Raises(Walk):
    def sample_independent(self, study, trial, name, distribution):
        raise KeyError("no")

class Outside(Walk):
    def sample_independent(self, study, trial, name, distribution):
        found = super().sample_independent(study, trial, name, distribution)
        return -7 if isinstance(found, (int, float)) else found

class After(optuna.pruners.BasePruner):
    def __init__(self, step):
        self._step = step
    def prune(self, study, trial):
        return trial.last_step >= self._step
"""
WHERE = "$.optuna.sampler"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_search.py").write_text(CODE)
    package = tmp_path / "hub" / "package" / "walk"
    package.mkdir(parents=True)
    (package / "walk.py").write_text(CODE)
    (package / "__init__.py").write_text("from .walk import Walk\n__all__ = ['Walk']\n")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["own_search:Walk", "own_search.py:Walk", "hub/package/walk:Walk", "optuna.samplers:RandomSampler"],
)
def test_a_class_is_found_in_a_module_a_file_or_a_folder(name):
    assert issubclass(classes.load(name, BaseSampler, WHERE), BaseSampler)


def plan_with(name, **params):
    return toy_plan(sampler={"name": name, **params}, max_trials=12, batch_size=1, confirm=0)


def test_a_sampler_with_a_state_of_its_own_goes_on_where_it_was_interrupted(tmp_path):
    plan = plan_with("own_search:Walk", width=0.3)
    whole = drive(plan, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        drive(plan, tmp_path / "cut", KilledExecutor(8, mid_trial=True))

    assert rows(drive(plan, tmp_path / "cut")) == rows(whole)


def test_what_stops_a_loop_of_optunas_stops_nothing(tmp_path):
    assert len(drive(plan_with("own_search:Stops"), tmp_path).studies[0].ended) == 12


def test_the_pickled_study_does_not_need_the_class(monkeypatch):
    search = Search(plan_with("own_search:Walk").studies[0], 1)
    search.ask(0)
    search.tell(0, [1.0])
    saved = search.pickled()

    assert b"Walk" not in saved
    assert pickle.loads(saved).best_value == 1.0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_search:Raises", r"'own_search:Raises' raised KeyError: 'no' \(own_search.py, line \d+\)"),
        ("own_search:Outside", "proposed .*, which is outside the search space"),
    ],
)
def test_what_a_sampler_does_wrong_is_one_line(name, words):
    search = Search(plan_with(name).studies[0], 1)

    with pytest.raises(SpecError, match=words) as caught:
        search.ask(0)
    assert "\n" not in str(caught.value)


def test_a_pruner_of_the_users_stops_trials():
    pruner = make_pruner("own_search:After", {"step": 2}, "study")
    pruner.report("r", 1, 0.5)
    assert pruner.reason_to_stop("r") is None

    pruner.report("r", 2, 0.5)

    assert pruner.reason_to_stop("r") == "the pruner 'own_search:After' stopped it at step 2"


def test_a_class_that_is_no_pruner_is_refused():
    with pytest.raises(SpecError, match="is no subclass of Optuna's BasePruner"):
        classes.load("own_search:Walk", BasePruner, "$.optuna.pruner")


def test_a_class_of_optunas_gets_what_it_asks_for():
    sampler = classes.made("tpe", optuna.samplers.TPESampler, {"multivariate": True}, {"seed": 3}, WHERE)

    assert isinstance(sampler, optuna.samplers.TPESampler)
