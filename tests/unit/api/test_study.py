"""Studies from Python."""

import importlib.util
import signal
import sys

import numpy as np
import optuna
import pytest
from parsl_optuna import Study
from parsl_optuna.api import session
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.space import Float, Int

SPACE = {"x": {"low": -1.0, "high": 1.0}, "kind": {"choices": ["a", "b"]}}
FUNCTION = "def parabola(x, kind):\n    return {'loss': x * x + (kind == 'b'), 'size': abs(x)}\n"
YAML = """task: function
problems: [{function: objective.py:parabola}]
search_space:
  function:
    x: {low: -1.0, high: 1.0}
    kind: {choices: [a, b]}
optuna: {max_trials: 6, batch_size: 1, confirm: 0, method_budget_sec: 30, sampler: tpe}
"""
OPTUNA = {"max_trials": 6, "batch_size": 1, "confirm": 0, "method_budget_sec": 30, "sampler": "tpe"}
"""Sampler ``auto`` goes by measured times, so that two runs may differ."""


@pytest.fixture
def function(tmp_path, monkeypatch):
    """A function of a file in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "objective.py"
    path.write_text(FUNCTION)
    module = importlib.util.spec_from_file_location("objective", path)
    loaded = importlib.util.module_from_spec(module)
    module.loader.exec_module(loaded)
    monkeypatch.setitem(sys.modules, "objective", loaded)
    return loaded.parabola


def test_a_study_runs_and_tells_its_trials_and_its_best_point(function):
    study = Study(function, SPACE, **OPTUNA).run("inline")

    rows = study.trials()
    assert len(rows) == 6
    assert set(rows["state"]) == {"ok"}
    (best,) = study.best()
    assert best["objective"] == rows["objective"].min()


def test_the_same_study_again_goes_on_and_repeats_nothing(function):
    first = Study(function, SPACE, **OPTUNA).run("inline")
    ids = set(first.trials()["trial_id"])

    again = Study(function, SPACE, **OPTUNA | {"max_trials": 8}).run("inline")

    assert first.result.n_started == 6
    assert again.result.n_started == 2
    assert ids < set(again.trials()["trial_id"])


def test_trials_have_the_ids_that_they_have_from_yaml(function, tmp_path):
    (tmp_path / "study.yaml").write_text(YAML)
    from_yaml = Study.from_yaml("study.yaml").run("inline").trials()

    from_python = Study(function, SPACE, **OPTUNA)

    assert from_python.plan.studies[0].label == Study.from_yaml("study.yaml").plan.studies[0].label
    assert from_python.run("inline").result.n_started == 0
    assert set(from_python.trials()["trial_id"]) == set(from_yaml["trial_id"])


def test_a_function_that_uses_what_workers_do_not_have_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    factor = 2

    def inner(x):
        return factor * x

    with pytest.raises(SpecError, match="'inner' uses 'factor' from outside"):
        Study(inner, {"x": {"low": 0.0, "high": 1.0}})


def test_a_function_whose_source_is_not_kept_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "__main__"}
    exec("def loss(x): return x", names)

    with pytest.raises(SpecError, match=r"the source of 'loss' is not kept.*put it into a file"):
        Study(names["loss"], {"x": {"low": 0.0, "high": 1.0}})


def test_a_function_without_a_file_gets_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def inner(x):
        return x

    study = Study(inner, {"x": {"low": 0.0, "high": 1.0}}, **OPTUNA).run("inline")

    assert (tmp_path / "results" / "inner.py").read_text() == "def inner(x):\n    return x\n"
    assert set(study.trials()["state"]) == {"ok"}


def optunas(trial):
    return trial.suggest_float("x", 0.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"objective": optunas}, "the hyperparameters are the arguments"),
        ({"objective": optunas, "direction": "maximize"}, r"direction: .* here it is objectives="),
        ({"objective": optunas, "n_jobs": 4}, "n_jobs: .* here it is batch_size"),
        ({"objective": optunas, "timeout": 4}, "timeout: .* here it is max_hours"),
        ({"task": "function", "sampler": optuna.samplers.TPESampler()}, "got a TPESampler"),
        ({}, "a function or task"),
        ({"objective": len}, "function with a name"),
        ({"objective": lambda x: x}, "function with a name"),
        ({"task": "functon", "problems": [{}]}, "no task 'functon'"),
        ({"task": "llc", "problems": [{}], "max_trails": 3}, "did you mean 'max_trials'"),
    ],
)
def test_mistakes_are_told(arguments, words):
    with pytest.raises(SpecError, match=words):
        Study(**arguments)


def test_trials_go_to_an_optuna_storage(function, tmp_path):
    study = Study(function, SPACE, **OPTUNA).run("inline")

    (name,) = study.to_optuna(f"sqlite:///{tmp_path / 'study.db'}")
    study.to_optuna(f"sqlite:///{tmp_path / 'study.db'}")  # adds nothing

    loaded = optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert len(loaded.trials) == 6
    assert loaded.best_value == study.trials()["objective"].min()
    assert loaded.best_trial.user_attrs["trial_id"] == study.best()[0]["trial_id"]


def test_before_it_has_run_there_is_nothing_to_tell(function):
    with pytest.raises(SpecError, match="call run"):
        Study(function, SPACE, **OPTUNA).best()


CONDITIONAL = {
    "x": {"low": -1.0, "high": 1.0},
    "optimizer": {"choices": ["sgd", "adam"]},
    "momentum": {"low": 0.0, "high": 1.0, "when": {"optimizer": "sgd"}},
}


@pytest.fixture
def trained(function, tmp_path):
    """A file whose function takes a hyperparameter that is not always there."""
    (tmp_path / "train.py").write_text(
        "def train(x, optimizer, momentum=None):\n"
        "    assert (momentum is None) == (optimizer == 'adam')\n"
        "    return x * x + (momentum or 0.5)\n"
    )
    return {
        "task": "function",
        "problems": [{"function": "train.py:train"}],
        **OPTUNA,
        "others": {"enqueue": {"function": [{"momentum": 0.25}]}},
    }


def test_what_is_inactive_is_no_part_of_a_trial(trained):
    study = Study(space=CONDITIONAL, **trained | {"max_trials": 8}).run("inline")

    rows = study.trials()
    assert set(rows["state"]) == {"ok"}
    of_adam = rows[[params["optimizer"] == "adam" for params in rows["hyperparams"]]]
    assert len(of_adam) not in (0, 8)
    assert all("momentum" not in text for text in of_adam["hyperparams_json"])
    assert all(params["momentum"] is None for params in of_adam["hyperparams"])


def test_a_guess_brings_along_what_makes_it_active(trained):
    rows = Study(space=CONDITIONAL, **trained).run("inline").trials()

    guessed = rows[rows["asked_by"] == "enqueue"]["hyperparams"]
    assert [(params["optimizer"], params["momentum"]) for params in guessed] == [("sgd", 0.25)]


def test_a_conditional_study_goes_on_where_it_ended(trained):
    whole = Study(space=CONDITIONAL, **trained, artifacts_dir="a", results_dir="a").run("inline")

    Study(space=CONDITIONAL, **trained | {"max_trials": 4}).run("inline")
    again = Study(space=CONDITIONAL, **trained).run("inline")

    assert again.result.n_started == 2
    assert list(again.trials()["trial_id"]) == list(whole.trials()["trial_id"])


def test_a_condition_on_what_is_fixed_is_decided(trained):
    fixed = CONDITIONAL | {"optimizer": "adam"}

    study = Study(space=fixed, **trained | {"others": {}}).run("inline")

    assert all(set(params) == {"x", "optimizer"} for params in study.trials()["hyperparams"])


def test_an_interrupted_run_leaves_the_signals_of_its_process_alone():
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]

    with session.kept_signals():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as a run does that leaves

    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


CONSTRAINED = OPTUNA | {"max_trials": 12, "constraints": {"size": ">= 0.5"}}


def test_what_misses_a_constraint_is_not_the_best(function):
    study = Study(function, SPACE, **CONSTRAINED).run("inline")

    rows = study.trials()
    (best,) = study.best()
    assert set(rows["feasible"]) == {True, False}
    assert rows["feasible"].tolist() == [metrics["size"] >= 0.5 for metrics in rows["metrics"]]
    assert best["objective"] == rows[rows["feasible"]]["objective"].min() > rows["objective"].min()
    assert best["feasible"]
    assert best["infeasible_points"] == (~rows["feasible"]).sum()
    missed = rows["violations"].map(lambda one: one["size >= 0.5"])
    assert missed.tolist() == pytest.approx([0.5 - metrics["size"] for metrics in rows["metrics"]])


def test_a_constrained_study_goes_on_where_it_ended(function):
    whole = Study(function, SPACE, **CONSTRAINED, artifacts_dir="a", results_dir="a").run("inline")

    Study(function, SPACE, **CONSTRAINED | {"max_trials": 7}).run("inline")
    again = Study(function, SPACE, **CONSTRAINED).run("inline")

    assert again.result.n_started == 5
    assert list(again.trials()["trial_id"]) == list(whole.trials()["trial_id"])


NOISY = """
import random

def noisy(x, kind, seed, scale=1.0, extra=None):
    noise = random.Random(seed).gauss(0, 0.1)
    return {"loss": scale * x * x + noise + 0.1 * (extra or 0), "size": abs(x) + noise}
"""


@pytest.mark.parametrize("across", ["mean", "worst", "rank"])
def test_constraints_and_conditions_go_with_replicates_and_several_problems(tmp_path, monkeypatch, across):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noisy.py").write_text(NOISY)
    scales = [{"function": "noisy.py:noisy", "args": {"scale": scale}} for scale in (1.0, 2.0)]
    extra = {"low": 0, "high": 3, "when": {"kind": "b"}}
    options = CONSTRAINED | {"max_trials": 6, "replicates": 2, "across": across, "n_startup_trials": 2}

    def study(n):
        space = SPACE | {"extra": extra}
        return Study(task="function", problems=scales, space=space, **options | {"max_trials": n})

    study(3).run("inline")
    rows = study(6).run("inline").trials()

    (best,) = study(6).best()
    assert len(rows) == 6 * 2 * 2
    rows["size"] = rows["metrics"].map(lambda metrics: metrics["size"])
    worst = rows.groupby("hyperparams_json")["size"].min()
    assert best["infeasible_points"] == (worst < 0.5).sum() > 0, "one trial that misses it is enough"
    assert best["feasible"]
    assert all(("extra" in text) == ('"b"' in text) for text in rows["hyperparams_json"])


def test_where_no_point_is_feasible_the_least_violation_is_best(function):
    study = Study(function, SPACE, **OPTUNA, constraints=["size >= 3"]).run("inline")

    (best,) = study.best()
    sizes = [metrics["size"] for metrics in study.trials()["metrics"]]
    assert not best["feasible"]
    assert best["violations"] == {"size >= 3": pytest.approx(3 - max(sizes))}


def test_optuna_sees_the_constraints(function):
    study = Study(function, SPACE, **CONSTRAINED).run("inline")
    storage = optuna.storages.InMemoryStorage()

    (name,) = study.to_optuna(storage)

    loaded = optuna.load_study(study_name=name, storage=storage)
    assert loaded.best_value == study.best()[0]["objective"]


def test_numbers_and_arrays_of_numpy_are_those_of_python(function):
    space = {
        "x": {"choices": np.linspace(0.0, 1.0, 3)},
        "kind": {"choices": [*np.array(["a"]), "b"]},
    }
    plain = {"x": {"choices": [0.0, 0.5, 1.0]}, "kind": {"choices": ["a", "b"]}}

    study = Study(function, space, **OPTUNA | {"max_trials": np.int64(2)}).run("inline")

    same = Study(function, plain, **OPTUNA | {"max_trials": 2}).run("inline")
    assert list(same.trials()["trial_id"]) == list(study.trials()["trial_id"])
    assert same.result.n_started == 0


@pytest.mark.parametrize("value", [optuna.distributions.FloatDistribution(0, 1), lambda trial: 1.0])
def test_an_object_is_no_parameter(function, value):
    with pytest.raises(SpecError, match=r"function\.x: must be bounds"):
        Study(function, {"x": value, "kind": "a"}, **OPTUNA)


def test_real_bounds_of_a_whole_default_are_not_taken_for_whole_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def inner(x=1):
        return x

    with pytest.raises(SpecError, match=r"x: the bound 0.0 is written as a real number.*dist: float"):
        Study(inner, {"x": {"low": 0.0, "high": 1.0}})
    real = Study(inner, {"x": {"low": 0.0, "high": 1.0, "dist": "float"}}).plan.studies[0].space
    whole = Study(inner, {"x": {"low": 0, "high": 5}}).plan.studies[0].space
    assert (real.dimensions["x"], whole.dimensions["x"]) == (Float(0.0, 1.0), Int(0, 5))


def test_a_file_in_its_own_encoding_is_looked_at_too(tmp_path, monkeypatch):
    path = tmp_path / "latin.py"
    code = "# coding: latin-1\nimport sys\nK = sys.argv[1:]  # größe\ndef loss(x):\n    return x * len(K)\n"
    path.write_bytes(code.encode("latin-1"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["latin.py", "3"])
    module = importlib.util.spec_from_file_location("latin", path)
    loaded = importlib.util.module_from_spec(module)
    monkeypatch.setitem(sys.modules, "latin", loaded)
    module.loader.exec_module(loaded)

    with pytest.raises(SpecError, match="uses 'K', which comes from the command line"):
        Study(loaded.loss, {"x": {"low": -1.0, "high": 1.0}}, max_trials=1)
