from types import SimpleNamespace

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import Preempted
from parsl_optuna.kernels import chain
from parsl_optuna.kernels.metric import isotropic
from parsl_optuna.kernels.snapshot import dumps, loads
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.llc.answer.control_variates import LossCoordinates
from parsl_optuna.tasks.llc.engine.draw import Goal
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.warmup import Arrived
from parsl_optuna.tasks.llc.samplers.sgld import Params, build
from parsl_optuna.tasks.llc.samplers.sgld import run as trial

from tests.scenarios import noisy_regression, regression


def sgld(estimand, generator, relative_error):
    metric = isotropic(estimand.centre, estimand.gamma**-0.5)
    nothing = LossCoordinates(estimand.centre, torch.zeros_like(estimand.centre))
    arrived = Arrived(metric, nothing, estimand.starts(400, generator), 0)
    stages = Stages(Checkpoint(), generator, estimand)
    return build(estimand, arrived, stages, Goal(relative_error, Deadline()))


@pytest.mark.slow
def test_minibatches_add_to_the_llc_what_is_predicted(tmp_path, generator):
    estimand = noisy_regression(tmp_path)
    run = sgld(estimand, generator, relative_error=0.3)

    _, trace = chain.run(run.kernel, run.state, generator, chain.Schedule(3000, 10), run.observe, Deadline())

    added = float(trace.values["excess"][30:].mean()) / regression(estimand) - 1.0
    assert 0.05 < run.noise_bias <= 0.15
    assert added == pytest.approx(run.noise_bias, rel=0.3)


def test_the_heat_of_minibatches_is_that_of_which_the_prediction_is_half(tmp_path, generator):
    estimand = noisy_regression(tmp_path)
    run = sgld(estimand, generator, relative_error=0.3)

    _, trace = chain.run(run.kernel, run.state, generator, chain.Schedule(600, 10), run.observe, Deadline())

    added = 0.5 * float(trace.values["heat"].mean()) / regression(estimand)
    assert added == pytest.approx(run.noise_bias, rel=0.3)


def test_a_smaller_error_takes_larger_minibatches(tmp_path, generator):
    estimand = noisy_regression(tmp_path)

    batches = [sgld(estimand, generator, error).settings["batch"] for error in (0.6, 0.1, 0.01)]

    assert batches == sorted(set(batches))
    assert batches[-1] == estimand.n


@pytest.mark.parametrize(("noise", "batch"), [("leimkuhler_matthews", 8), ("euler", 10**6)])
def test_a_trial_states_what_its_steps_add_to_the_llc(noise, batch, tmp_path, generator):
    estimand = noisy_regression(tmp_path)
    size = 0.1 / estimand.t
    params = Params(chains=100, eta0=size, gamma=0.0, batch=batch, steps=2000, burn_in=0.2, noise=noise)
    stages = Stages(Checkpoint(), generator, estimand)

    found = trial(estimand, params, stages, SimpleNamespace(deadline=Deadline()))

    added = found["llc_hat"] - regression(estimand)
    stated = found["diagnostics"]["step_bias"]
    assert added > 4 * found["se_hat"]
    assert added == pytest.approx(stated, rel=0.3)
    assert found["bias"] >= stated


class OfAnEarlierVersion(Checkpoint):
    """Gives up once, in the middle of the draws, and then goes on with a file that knows of no heat."""

    def __init__(self):
        super().__init__()
        self.content = None

    def load(self):
        return self.content

    def due(self):
        return self.content is None

    def save(self, content):
        stages = loads(content)
        if len(stages) == 3 and not stages[-1]["ended"] and stages[-1]["data"][1][0]:
            del stages[-1]["data"][1][0]["heat"]
            self.content = dumps(stages)
            raise Preempted


def test_a_checkpoint_without_heat_is_gone_on_with(tmp_path):
    estimand, progress = noisy_regression(tmp_path), OfAnEarlierVersion()
    params = Params(chains=20, eta0=0.1 / estimand.t, gamma=0.0, steps=400, burn_in=0.2)

    def attempt():
        stages = Stages(progress, torch.Generator().manual_seed(1), estimand)
        return trial(estimand, params, stages, SimpleNamespace(deadline=Deadline()))

    with pytest.raises(Preempted):
        attempt()
    found = attempt()

    beyond = (found["diagnostics"]["virial_ratio"] - 1.0) * estimand.dim
    assert found["diagnostics"]["step_bias"] == pytest.approx(0.5 * abs(beyond))
