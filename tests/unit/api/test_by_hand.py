"""Trials asked for and told by hand."""

import importlib.util
import sys

import pytest
from parsl_optuna import Study
from parsl_optuna.cli.main import optuna_group
from parsl_optuna.core.errors import SpecError

SPACE = {"x": {"low": -1.0, "high": 1.0, "step": 0.1}, "kind": {"choices": ["a", "b"]}}
OPTUNA = {"max_trials": 5, "batch_size": 2, "confirm": 1, "method_budget_sec": 30, "sampler": "tpe"}


@pytest.fixture
def loss(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "objective.py"
    path.write_text("def loss(x, kind):\n    return {'loss': x * x + (kind == 'b'), 'size': abs(x)}\n")
    spec = importlib.util.spec_from_file_location("objective", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "objective", module)
    return module.loss


def make(loss, **more):
    return Study(loss, SPACE, **OPTUNA | more)


def run_by_hand(study, loss):
    asked = []
    while (trial := study.ask()) is not None:
        asked.append(trial)
        study.tell(trial, loss(**trial.params))
    return asked


def test_trials_are_those_of_a_run_confirmations_too(loss):
    by_hand = make(loss, batch_size=1, artifacts_dir="hand", results_dir="hand_results")
    asked = run_by_hand(by_hand, loss)
    run = make(loss, batch_size=1).run("inline")

    assert len(asked) == run.result.n_started > 5
    assert list(by_hand.trials()["trial_id"]) == list(run.trials()["trial_id"])
    assert list(by_hand.trials()["objective"]) == list(run.trials()["objective"])
    assert by_hand.best()[0]["confirmed"] == run.best()[0]["confirmed"] is not None


def test_a_run_goes_on_with_what_was_told(loss):
    study = make(loss)
    run_by_hand(study, loss)

    assert study.run("inline").result.n_started == 0


def test_trials_that_were_not_told_are_asked_for_again_by_another_process(loss):
    first = make(loss)
    asked = [first.ask(), first.ask()]

    second = make(loss)
    again = [second.ask(), second.ask()]

    assert [one.trial_id for one in again] == [one.trial_id for one in asked]
    assert len({one.trial_id for one in asked}) == 2


def test_what_was_told_is_collected_from_the_artifacts(loss):
    study = make(loss)
    trial = study.ask()
    study.tell(trial, 0.5, runtime_sec=3600)

    optuna_group(["collect", "--task", "function"], standalone_mode=False)

    (row,) = study.trials().to_dict("records")
    assert (row["trial_id"], row["objective"], row["runtime_sec"]) == (trial.trial_id, 0.5, 3600)
    assert row["state"] == "ok"


def test_a_failure_is_told_with_its_reason_and_by_id(loss):
    study = make(loss)
    study.tell(study.ask().trial_id, failed="the sample cracked")

    (row,) = study.trials().to_dict("records")
    assert (row["state"], row["reason"]) == ("failed", "the sample cracked")


def test_more_than_the_batch_size_is_not_asked_for(loss):
    study = make(loss)
    study.ask()
    study.ask()

    with pytest.raises(SpecError, match=r"2 trials are asked for and not told.*batch_size 2"):
        study.ask()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "either a result or failed"),
        ({"result": 1.0, "failed": "why"}, "either a result or failed"),
        ({"result": "0.5"}, "returned a str"),
        ({"result": {"los": 0.5}}, "no metric 'loss'; it reported 'los'"),
        ({"result": {"loss": {1, 2}}}, "cannot be stored"),
    ],
)
def test_a_slip_ends_no_trial(loss, told, words):
    study = make(loss)
    trial = study.ask()

    with pytest.raises(SpecError, match=words):
        study.tell(trial, **told)

    study.tell(trial, 0.5)
    with pytest.raises(SpecError, match="has ended already, as ok"):
        study.tell(trial, 0.5)


@pytest.mark.parametrize("seconds", [-5, float("nan"), "5"])
def test_a_time_that_is_none_is_refused(loss, seconds):
    study = make(loss)
    trial = study.ask()

    with pytest.raises(SpecError, match="runtime_sec must be seconds, 0 or more"):
        study.tell(trial, 0.5, runtime_sec=seconds)


def test_an_unknown_trial_is_refused(loss):
    with pytest.raises(SpecError, match="no trial of this study has this id"):
        make(loss).tell("r_000000000000", 0.5)


def test_a_task_with_a_reference_is_run_by_workers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study(task="llc", problems=[{"model": "small", "data": "base", "teacher": "_null"}],
                  others={"methods": ["sgld"]})  # fmt: skip

    with pytest.raises(SpecError, match="compares with a reference, which only run"):
        study.ask()


def test_figures_are_optunas(loss):
    study = make(loss, objectives={"loss": "minimize", "size": "maximize"}, confirm=0)
    run_by_hand(study, loss)

    shown = study.plot_slice(params=["x"], objective="size")
    assert sorted(shown.data[0].y) == sorted(study.trials()["size"])
    assert study.plot_pareto_front().layout.xaxis.title.text == "loss"
    assert study.plot_optimization_history().layout.yaxis.title.text == "loss"
    with pytest.raises(SpecError, match="no objective 'los'; did you mean 'loss'"):
        study.plot_optimization_history(objective="los")
    with pytest.raises(SpecError, match="name one study by method"):
        study.plot_slice(method="fun")
