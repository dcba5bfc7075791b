import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.space import Categorical
from parsl_optuna.tasks.llc import TASK
from parsl_optuna.tasks.llc.samplers import complete, space

PROBLEM = TASK.resolve({"model": "small"}, "f $")


@pytest.mark.parametrize("method", TASK.methods)
def test_presets_are_complete_and_every_default_space_can_be_completed(method):
    defaults = complete({}, method, {}, "f $")

    for dimension in space(PROBLEM, method).dimensions:
        assert dimension in defaults
    assert complete({}, method, defaults, "f $") == defaults


def test_minibatches_never_exceed_the_data():
    few = TASK.resolve({"model": "small", "overrides": {"data": {"n_data": 50}}}, "f $")

    assert space(few, "sgld").dimensions["batch"] == Categorical((32,))


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("sgld", {"eta0": 0}, ["eta0", "above 0"]),
        ("sgld", {"eta": 0.1}, ["eta", "did you mean 'eta0'"]),
        ("sgld", {"precond_type": "adma"}, ["precond_type", "adam"]),
        ("sgld", {"burn_in": 1.5}, ["burn_in", "[0, 1)"]),
        ("vi", {"M": 2.5}, ["M", "whole number"]),
        ("mclmc", {"target_accept": 1.2}, ["target_accept", "between 0 and 1"]),
        ("hmc", {"draws": "many"}, ["draws", "whole number"]),
        ("hcm", {}, ["hcm", "hmc"]),
    ],
)
def test_mistakes_are_one_line_with_the_place(method, params, words):
    with pytest.raises(SpecError) as caught:
        complete({}, method, params, "f.yaml $.x")

    assert len(str(caught.value).splitlines()) == 1
    assert all(word in str(caught.value) for word in words)
