import math

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain, langevin
from parsl_optuna.kernels import random_reshuffling as reshuffling
from parsl_optuna.kernels.diagnostics import mcse
from parsl_optuna.kernels.langevin import Motion
from parsl_optuna.kernels.metric import isotropic
from parsl_optuna.tasks.llc.engine.minibatches import Noise, best_count, left_over, measured
from parsl_optuna.tasks.llc.engine.warmup import stable_step
from parsl_optuna.tasks.llc.problem.estimand import Estimand
from parsl_optuna.tasks.llc.problem.losses import MlpLoss
from parsl_optuna.tasks.llc.problem.spec import Posterior
from parsl_optuna.tasks.llc.problem.target import Summary, Target, load

from tests.scenarios import Bench, noisy_regression, regression


def settled(estimand, generator, chains=64, count=40, apart=20):
    """Return coordinates, a motion, and states of chains in equilibrium."""
    metric = isotropic(estimand.centre, estimand.gamma**-0.5)
    potential = metric.potential(estimand.energy)
    z = metric.coordinates(estimand.starts(chains, generator))
    params = langevin.Params(stable_step(potential, z, generator), friction=5.0, rejection_threshold=math.inf)
    kernel, kept = langevin.build(potential, params), []
    state = kernel.init(z, generator)
    for done in range(count * apart):
        state, _ = kernel.step(state, generator)
        if done % apart == 0:
            kept.append(state)
    return metric, params, kept[count // 4 :]


def test_errors_of_an_epoch_leave_nothing_at_rest_and_all_of_their_power_in_the_mean():
    assert left_over(0.0, 4) == 0.0
    assert left_over(1e-3, 4) == pytest.approx(4 * 5 / 12 * 1e-6, rel=1e-3)
    angles = [2 * math.pi * (i + 0.5) / 1000 for i in range(1000)]
    for count in (2, 3, 8):
        assert sum(left_over(angle, count) for angle in angles) / 1000 == pytest.approx(1.0)


def test_what_cannot_be_cut_is_not_cut(tmp_path, generator):
    bench = Bench({"model": "quadratic", "overrides": {"data": {"n_data": 1000}}}, tmp_path)
    estimand = Estimand(load(bench.problem, bench.folder))
    metric, _, states = settled(estimand, generator, count=4)

    assert measured(estimand, metric, states, generator) is None


def test_the_errors_of_a_regression_are_all_held_by_its_loss(tmp_path, generator):
    """Each direction is far narrower than the localiser; the power is that of draws without replacement."""
    estimand = noisy_regression(tmp_path)
    metric, _, states = settled(estimand, generator)

    noise = measured(estimand, metric, states, generator)

    assert noise is not None
    assert noise.n_minibatches == 7
    assert noise.share == pytest.approx(1.0, abs=0.02)
    at = states[-1]
    halves = [
        metric.potential(estimand.parts(2, generator)[0])(at.position, generator)[1] for _ in range(200)
    ]
    power = (torch.stack(halves) - at.gradient).square().sum(-1).mean()
    assert noise.power / 6 == pytest.approx(float(power), rel=0.2)


@pytest.mark.slow
def test_directions_that_only_the_localiser_holds_do_not_count(tmp_path, generator):
    """Of 40 hidden units a few would do: most weights are as wide as the localiser lets them be."""
    tanh = {"kind": "mlp", "in_dim": 3, "out_dim": 1, "depth": 1, "hidden": 40, "activation": "tanh"}
    bench = Bench({"model": tanh, "overrides": {"data": {"n_data": 600}}}, tmp_path)
    estimand = Estimand(load(bench.problem, bench.folder))
    metric, _, states = settled(estimand, generator, chains=16, count=24)

    noise = measured(estimand, metric, states, generator)

    assert noise is not None
    assert noise.share < 0.7


@pytest.mark.slow
def test_on_a_regression_the_heat_is_what_was_expected(tmp_path, generator):
    estimand = noisy_regression(tmp_path)
    metric, motion, states = settled(estimand, generator)
    noise = measured(estimand, metric, states, generator)
    assert noise is not None
    parts = [metric.potential(part) for part in estimand.parts(3, generator)]

    def observe(_, now):
        return {"excess": estimand.excess(metric.position(now.at.position))}

    energies = reshuffling.Energies(parts, metric.potential(estimand.energy))
    kernel = reshuffling.build(energies, reshuffling.Params(motion.step_size, motion.friction, every=10))
    state = kernel.init(states[-1].position, generator)
    trace = chain.run(kernel, state, generator, chain.Schedule(10_000, 10), observe, Deadline())[1]

    excess = trace.values["excess"][50:]
    heat = float(excess.mean()) - regression(estimand)
    assert heat > 5 * mcse(excess)
    assert heat == pytest.approx(noise.bias(3, motion), rel=0.3)


@pytest.mark.parametrize(("power", "count"), [(0.0, 16), (1e-6, 16), (0.5, 2), (1e6, 1), (math.nan, 1)])
def test_the_noisier_the_fewer_parts(power, count):
    noise = Noise(16, power, 1.0, 4.0)

    assert best_count(noise, Motion(0.5), 0.01) == count


def test_without_an_error_that_is_wanted_nothing_is_cut():
    assert best_count(Noise(16, 1e-6, 1.0, 4.0), Motion(0.5), 0.0) == 1
    assert best_count(Noise(16, 1e-6, 1.0, 4.0), Motion(0.5), math.nan) == 1


def test_examples_that_are_all_the_same_may_be_cut_anyhow(generator):
    x, y = torch.ones(600, 2).double(), torch.ones(600, 1).double()
    loss = MlpLoss(x, y, (2, 3, 1), "tanh", bias=True)
    centre = torch.zeros(loss.dim).double()
    summary = Summary(1.0, loss.dim, 600, 0.0, 1.0, None, None, has_exact_diagonal=False)
    estimand = Estimand(Target(Posterior(), loss, centre, torch.ones_like(centre), summary))
    metric, motion, states = settled(estimand, generator, count=4)

    noise = measured(estimand, metric, states, generator)

    assert noise is not None
    assert best_count(noise, motion, 0.01) == 4


def test_heat_grows_with_the_cube_of_parts_where_steps_are_short():
    noise = Noise(16, 1.0, 1.0, 4.0)

    ratio = noise.bias(8, Motion(1e-3)) / noise.bias(4, Motion(1e-3))

    assert ratio == pytest.approx(7 * 8 * 9 / (3 * 4 * 5), rel=1e-3)
    assert noise.bias(1, Motion(0.5)) == 0.0
    assert noise.bias(4, Motion(0.5, friction=2.0)) == pytest.approx(noise.bias(4, Motion(0.5)) / 2)
