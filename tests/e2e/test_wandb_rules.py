"""W&B's own rules: what its packages ``sweeps`` 0.3.0 and ``wandb`` 0.31.0 were seen to do here.

Where ``sweeps`` is installed, it is asked again.
"""

import importlib.util

import pytest
import yaml
from parsl_optuna.core.errors import SpecError
from parsl_optuna.study.plan.sweep.file import read_sweep
from parsl_optuna.study.plan.sweep.points import grid
from parsl_optuna.study.search.hyperband import HyperbandSettings, WandbHyperband
from parsl_optuna.tasks.command.macros import expand
from parsl_optuna.tasks.command.run import assembled

has_sweeps = pytest.mark.skipif(importlib.util.find_spec("sweeps") is None, reason="sweeps is not installed")

# name: (parameter, whether W&B's schema accepts it, whether it is accepted here)
PARAMETERS = {
    "value": ({"value": 1}, True, True),
    "null": ({"value": None}, True, True),
    "mapping": ({"value": {"a": 1}}, True, True),
    "constant": ({"distribution": "constant", "value": 3}, True, True),
    "values": ({"values": [1, "a", None]}, True, True),
    "no values": ({"values": []}, False, False),
    "a text of values": ({"values": "abc"}, False, False),
    "categorical": ({"distribution": "categorical", "values": [1]}, True, True),
    "weighted": ({"values": [1, 2], "probabilities": [0.3, 0.7]}, True, True),
    "weighted by name": ({"distribution": "categorical_w_probabilities", "values": [1, 2],
                          "probabilities": [0.3, 0.7]}, True, True),
    "weighted categorical": ({"distribution": "categorical", "values": [1, 2], "probabilities": [0.3, 0.7]},
                             False, False),
    "too few weights": ({"values": [1, 2], "probabilities": [1.0]}, False, False),
    "weights with another sum": ({"values": [1, 2], "probabilities": [0.3, 0.3]}, False, False),
    "whole bounds": ({"min": 1, "max": 3}, True, True),
    "real bounds": ({"min": 0.1, "max": 0.3}, True, True),
    "mixed bounds": ({"min": 0, "max": 0.5}, True, True),
    "int_uniform of reals": ({"distribution": "int_uniform", "min": 1.0, "max": 3.0}, False, False),
    "uniform of whole numbers": ({"distribution": "uniform", "min": 1, "max": 3}, True, True),
    "upside down": ({"min": 3, "max": 1}, False, False),
    "one point": ({"min": 1, "max": 1}, False, True),
    "one bound": ({"min": 1}, False, False),
    "a bound as text": ({"min": "1e-4", "max": 1.0}, False, True),
    "q_uniform": ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.1}, True, True),
    "q_uniform without q": ({"distribution": "q_uniform", "min": 0, "max": 9}, True, True),
    "q of zero": ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, False, False),
    "uniform with q": ({"distribution": "uniform", "min": 0, "max": 1, "q": 0.1}, False, False),
    "log_uniform": ({"distribution": "log_uniform", "min": -9.2, "max": -2.3}, False, True),
    "log_uniform_values": ({"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1}, True, True),
    "log of zero": ({"distribution": "log_uniform_values", "min": 0, "max": 0.1}, False, False),
    "inv_log_uniform": ({"distribution": "inv_log_uniform", "min": 1, "max": 3}, False, True),
    "inv_log_uniform_values": ({"distribution": "inv_log_uniform_values", "min": 0.1, "max": 3}, True, True),
    "q_log_uniform": ({"distribution": "q_log_uniform", "min": 0, "max": 5, "q": 2}, False, True),
    "q_log_uniform_values": ({"distribution": "q_log_uniform_values", "min": 8, "max": 64}, True, True),
    "normal": ({"distribution": "normal", "mu": 1.0, "sigma": 2.0}, True, True),
    "standard normal": ({"distribution": "normal"}, True, True),
    "normal by its keys": ({"mu": 1.0, "sigma": 2.0}, False, True),
    "q_normal": ({"distribution": "q_normal", "mu": 1.0, "sigma": 2.0, "q": 0.5}, True, True),
    "log_normal": ({"distribution": "log_normal", "mu": 0.0, "sigma": 1.0}, True, True),
    "q_log_normal": ({"distribution": "q_log_normal", "mu": 3, "sigma": 1, "q": 1}, True, True),
    "beta": ({"distribution": "beta", "a": 2, "b": 5}, True, True),
    "q_beta": ({"distribution": "q_beta", "a": 2, "b": 5, "q": 0.1}, True, True),
    "no such distribution": ({"distribution": "loguniform", "min": 1, "max": 2}, False, False),
    "no such key": ({"min": 1, "max": 2, "step": 1}, False, False),
    "empty": ({}, False, False),
    "no bounds": ({"distribution": "uniform"}, False, False),
    "nested": ({"parameters": {"b": {"value": 1}}}, True, True),
    "nested twice": ({"parameters": {"b": {"parameters": {"c": {"values": [1, 2]}}}}}, True, True),
    "nested nothing": ({"parameters": {}}, False, False),
    "nested and more": ({"parameters": {"b": {"value": 1}}, "value": 2}, False, False),
    "a slip in a nested one": ({"parameters": {"b": {"valeu": 1}}}, False, False),
}  # fmt: skip

# name: (keys beside a method and a parameter, accepted there, here); what is not accepted there is warned of.
KEYS = {
    "min_iter and s": ({"early_terminate": {"type": "hyperband", "min_iter": 2, "s": 3}}, True, True),
    "max_iter alone": ({"early_terminate": {"type": "hyperband", "max_iter": 27, "eta": 3}}, False, True),
    "max_iter and s": ({"early_terminate": {"type": "hyperband", "max_iter": 27, "s": 2}}, True, True),
    "eta alone": ({"early_terminate": {"type": "hyperband", "eta": 2}}, False, True),
    "a cap": ({"run_cap": 3}, True, True),
    "a cap of nothing": ({"run_cap": 0}, False, False),
    "a key of one's own": ({"x-a": 1}, False, True),
    "impute": ({"metric": {"name": "a", "impute": "best"}}, True, True),
    "no such goal": ({"metric": {"name": "a", "goal": "max"}}, False, False),
    "a metric without name": ({"metric": {"goal": "minimize"}}, False, False),
    "optuna": ({"method": "custom", "scheduler": {"engine": "optuna"}, "metric": {"name": "a"}}, True, True),
    "two metrics": ({"method": "custom", "scheduler": {"engine": "optuna"},
                     "metrics": [{"name": "a"}, {"name": "b"}]}, True, True),
    "wandb's scheduler": ({"method": "grid", "scheduler": {"engine": "wandb"}}, True, True),
    "controller": ({"controller": {"type": "local"}}, True, True),
    "kind": ({"kind": "sweep", "apiVersion": "1"}, True, True),
    "no command": ({"command": []}, True, True),
    "a command as text": ({"command": "python x"}, False, False),
    "a job": ({"job": "a/b/c:latest"}, True, True),
    "names of hydra": ({"parameters": {"+a": {"value": 1}, "model/encoder": {"value": 2}}}, False, True),
}  # fmt: skip


def read(folder, config):
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump(config))
    return read_sweep(path)


def accepts(folder, config):
    try:
        read(folder, config)
    except SpecError:
        return False
    return True


def schema_accepts(config):
    from sweeps.config import schema_violations_from_proposed_config  # noqa: PLC0415

    try:
        return not schema_violations_from_proposed_config(config)
    except (AttributeError, ValueError):
        return False


ALONE = {"method": "random", "parameters": {"p": {"value": 1}}}
CONFIGS = {name: ({**ALONE, "parameters": {"p": one}}, *rest) for name, (one, *rest) in PARAMETERS.items()}
CONFIGS |= {name: (ALONE | one, *rest) for name, (one, *rest) in KEYS.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_what_the_schema_accepts_is_accepted_and_little_else(tmp_path, name):
    config, there, here = CONFIGS[name]

    assert accepts(tmp_path, config) is here
    assert here or not there


@has_sweeps
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CONFIGS)
def test_the_schema_still_says_so(name):
    config, there, _ = CONFIGS[name]

    assert schema_accepts(config) is there


GRIDS = [
    (
        {"b": {"values": ["x", "y"]}, "a": {"min": 1, "max": 2}, "c": {"value": [1]}},
        [{"a": a, "b": b, "c": [1]} for a in (1, 2) for b in "xy"],
    ),
    (
        {
            "z": {
                "parameters": {"q": {"values": [1, 2]}, "d": {"parameters": {"e": {"values": [True, False]}}}}
            },
            "m": {"distribution": "q_uniform", "min": 0, "max": 6, "q": 3},
        },
        [{"m": m, "z": {"d": {"e": e}, "q": q}} for m in (0, 3) for e in (True, False) for q in (1, 2)],
    ),
    (
        {"b": {"distribution": "q_uniform", "min": 0.1, "max": 1, "q": 0.3}, "c": {"value": 1}},
        [{"b": b, "c": 1} for b in (0.1, 0.4, 0.7000000000000001)],
    ),
    ({"a": {"values": [1, 2, 1.0, True]}}, [{"a": 1.0}, {"a": 2}, {"a": True}]),
    ({"a": {"values": [{"k": 1}, {"k": 1}, 3]}}, [{"a": {"k": 1}}, {"a": 3}]),
]


@pytest.mark.parametrize(("parameters", "expected"), GRIDS)
def test_a_grid_has_wandbs_points_in_its_order(tmp_path, parameters, expected):
    sweep = read(tmp_path, {"method": "grid", "parameters": parameters})
    found = [assembled({"json": (), "nested": sweep.nested}, point) for point in grid(sweep)]

    assert repr(found) == repr(expected)


@has_sweeps
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("parameters", "expected"), GRIDS)
def test_grids_are_still_in_that_order(parameters, expected):
    from sweeps.grid_search import grid_search_next_runs  # noqa: PLC0415

    runs = grid_search_next_runs([], {"method": "grid", "parameters": parameters}, n=len(expected) + 1)

    assert runs[-1] is None
    assert [{name: one["value"] for name, one in run.config.items()} for run in runs[:-1]] == expected


HISTORIES = [
    [0.13, 0.85, 0.76],
    [0.26, 0.5, 0.45, 0.65, 0.79, 0.09, 0.03, 0.84, 0.43],
    [0.76, 0.0, 0.45, 0.72, 0.23],
    [0.95, 0.9, 0.03, 0.03, 0.54, 0.94, 0.38, 0.22, 0.42, 0.03, 0.22, 0.44],
    [0.5, 0.23, 0.23, 0.22, 0.46, 0.29, 0.02],
    [0.84, 0.56],
    [0.64, 0.19, 0.99, 0.86],
    [0.12, 0.33, 0.72, 0.71, 0.94, 0.42, 0.83, 0.67, 0.3, 0.59],
]
STOPPED = [
    ({"min_iter": 2, "eta": 2}, [5]),
    ({"max_iter": 9, "s": 2, "eta": 3}, [5]),
    ({"min_iter": 3, "eta": 3, "strict": True}, [0, 1, 6]),
    ({"min_iter": 2, "eta": 1.5}, []),
]


@pytest.mark.parametrize(("settings", "expected"), STOPPED)
def test_the_runs_are_stopped_that_wandb_stops(settings, expected):
    pruner = WandbHyperband(HyperbandSettings(**settings))
    for index, history in enumerate(HISTORIES):
        for step, value in enumerate(history):
            pruner.report(str(index), step, value)

    assert [i for i in range(len(HISTORIES)) if pruner.reason_to_stop(str(i)) is not None] == expected


@has_sweeps
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("settings", "expected"), STOPPED)
def test_they_are_still_stopped_there(settings, expected):
    from sweeps.hyperband_stopping import hyperband_stop_runs  # noqa: PLC0415
    from sweeps.run import RunState, SweepRun  # noqa: PLC0415

    runs = [
        SweepRun(name=str(i), state=RunState.running, history=[{"loss": value} for value in history])
        for i, history in enumerate(HISTORIES)
    ]
    config = {
        "metric": {"name": "loss", "goal": "minimize"},
        "early_terminate": {"type": "hyperband", "strict": False} | settings,
    }

    assert [int(run.name) for run in hyperband_stop_runs(runs, config)] == expected


ARGUMENTS = {"lr": 0.1, "flag": True, "off": False, "none": None, "net": {"depth": 2}, "t": "a b"}
WORDS = {
    "args": ["--lr=0.1", "--flag=True", "--off=False", "--none=None", "--net={'depth': 2}", "--t=a b"],
    "args_no_equals": ["--lr", "0.1", "--flag", "True", "--off", "False", "--none", "None", "--net",
                       "{'depth': 2}", "--t", "a b"],
    "args_no_hyphens": ["lr=0.1", "flag=True", "off=False", "none=None", "net={'depth': 2}", "t=a b"],
    "args_no_boolean_flags": ["--lr=0.1", "--flag", "--none=None", "--net={'depth': 2}", "--t=a b"],
    "args_json": ['{"lr": 0.1, "flag": true, "off": false, "none": null, "net": {"depth": 2}, "t": "a b"}'],
    "args_append_hydra": ["+lr=0.1", "+flag=True", "+off=False", "+none=None", "+net={'depth': 2}", "+t=a b"],
    "args_override_hydra": ["++lr=0.1", "++flag=True", "++off=False", "++none=None", "++net={'depth': 2}",
                            "++t=a b"],
}  # fmt: skip


@pytest.mark.parametrize("macro", WORDS)
def test_words_of_a_command_are_those_that_wandb_makes(macro):
    found = expand(["${" + macro + "}"], ARGUMENTS, interpreter="python", json_file="", environment={})

    assert found == WORDS[macro]


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
@pytest.mark.filterwarnings("ignore")
def test_wandb_still_makes_them():
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args  # noqa: PLC0415

    made = create_sweep_command_args({"args": {name: {"value": one} for name, one in ARGUMENTS.items()}})

    assert {macro: made[macro] for macro in WORDS} == WORDS
