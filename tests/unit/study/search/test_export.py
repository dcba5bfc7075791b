import json
from datetime import UTC, datetime

import optuna
import pandas as pd
from optuna.trial import TrialState
from parsl_optuna.study.search.export import export


def row(number, params, objective, **more):
    at = pd.Timestamp(datetime(2026, 1, 1, 12, number, tzinfo=UTC))
    return {
        "trial_id": f"r_{number:012d}",
        "pid": "p_0",
        "problem": "valley",
        "method": "m",
        "state": "ok",
        "objective": objective,
        "hyperparams_json": json.dumps(params),
        "started": at,
        "ended": at + pd.Timedelta(seconds=30),
    } | more


def exported(tmp_path, rows, objectives=("loss",), maximised=()):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    (name,) = export(rows, objectives, maximised, tmp_path / "artifacts", storage)
    return optuna.load_study(study_name=name, storage=storage)


def test_parameters_keep_their_types_and_times_are_the_real_ones(tmp_path):
    rows = [row(0, {"lr": 1e-4, "k": 3, "kind": "a"}, 1.0), row(1, {"lr": 0.5, "k": 9, "kind": None}, 2.0)]

    first, second = exported(tmp_path, rows).trials

    assert first.params == {"lr": 1e-4, "k": 3, "kind": "a"}
    assert second.params["kind"] is None
    assert first.distributions["lr"].log
    assert (first.datetime_complete - first.datetime_start).total_seconds() == 30


def test_states_and_directions(tmp_path):
    rows = [
        row(0, {"x": 1}, 0.5),
        row(1, {"x": 2}, 0.9),
        row(2, {"x": 3}, None, state="failed", reason="no data"),
    ]

    study = exported(tmp_path, rows, ("acc",), ("acc",))

    assert study.best_value == 0.9
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2 + [TrialState.FAIL]
    assert study.trials[2].user_attrs["reason"] == "no data"


def test_a_pruned_trial_is_pruned_there_too(tmp_path):
    (trial,) = exported(tmp_path, [row(0, {"x": 1}, None, state="pruned", reason="no")]).trials

    assert trial.state is TrialState.PRUNED


def test_several_objectives(tmp_path):
    rows = [row(0, {"x": 1}, 1.0, size=3.0), row(1, {"x": 2}, 2.0, size=1.0)]

    study = exported(tmp_path, rows, ("error", "size"))

    assert [trial.values for trial in study.best_trials] == [[1.0, 3.0], [2.0, 1.0]]


def test_an_ok_trial_without_its_objective_is_no_complete_one(tmp_path):
    (trial,) = exported(tmp_path, [row(0, {"x": 1}, None)]).trials

    assert trial.state is TrialState.FAIL


def test_conditional_parameters_are_those_of_their_trials(tmp_path):
    first, second = exported(tmp_path, [row(0, {"x": 1}, 1.0), row(1, {"y": "b"}, 1.0)]).trials

    assert (first.params, second.params) == ({"x": 1}, {"y": "b"})


def test_axes_have_the_names_of_objectives(tmp_path):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    rows = [row(0, {"a": 1}, 1.0, size=2.0)]

    (name,) = export(rows, ["error", "size"], [], tmp_path, storage, "val_rec")

    assert optuna.load_study(study_name=name, storage=storage).metric_names == ["val_rec", "size"]


def test_hyperparameters_without_effect_are_no_parameters_of_a_trial(tmp_path):
    params = {"pruning_strategy": "lognorm", "percentile": 0.05, "plummet_threshold": 0.05}

    (trial,) = exported(tmp_path, [row(0, params, 1.0, task="lvae", method="lvae")]).trials

    assert set(trial.params) == {"pruning_strategy", "percentile"}


def test_a_metric_may_have_the_name_of_a_column(tmp_path):
    (trial,) = exported(tmp_path, [row(0, {"a": 1}, 1.0, metrics={"state": 7.0})], ["loss", "state"]).trials

    assert trial.values == [1.0, 7.0]
