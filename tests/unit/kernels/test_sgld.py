import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain, sgld
from parsl_optuna.kernels.diagnostics import mcse

from tests.unit.kernels.gaussian import noisy, potential


def second_moment(params, energy, generator, n_steps=6000, chains=64, start=0.5):
    """Return the mean of w^2 in one dimension and its standard error."""
    kernel = sgld.build(energy, energy, params)
    state = kernel.init(torch.full((chains, 1), start, dtype=torch.float64), generator)

    def observe(before, after):
        return {"square": before.position[:, 0] ** 2}

    _, trace = chain.run(kernel, state, generator, chain.Schedule(n_steps), observe, Deadline())
    square = trace.values["square"][n_steps // 10 :]
    return float(square.mean()), mcse(square)


@pytest.mark.parametrize("eta", [0.1, 0.5, 1.0])
def test_euler_noise_has_the_textbook_bias(eta, generator):
    """Stationary variance 1 / (a (1 - eta a / 4)) for precision a."""
    a = torch.tensor([2.0], dtype=torch.float64)

    mean, error = second_moment(sgld.Params(eta, noise="euler"), potential(a), generator)

    assert abs(mean - 1 / (2.0 * (1 - eta * 2.0 / 4))) < 4 * error


@pytest.mark.parametrize("eta", [0.1, 0.5, 1.0])
def test_leimkuhler_matthews_noise_has_none(eta, generator):
    """Exactly 1/a for every eta < 4/a."""
    a = torch.tensor([2.0], dtype=torch.float64)

    mean, error = second_moment(sgld.Params(eta), potential(a), generator)

    assert abs(mean - 0.5) < 4 * error


def test_gradient_noise_adds_what_the_formula_says(generator):
    """Euler with gradient noise of variance s: (1 + eta s / 4) / (a (1 - eta a / 4))."""
    a, eta, sd = torch.tensor([2.0], dtype=torch.float64), 0.4, 2.0

    mean, error = second_moment(sgld.Params(eta, noise="euler"), noisy(a, sd), generator)

    assert abs(mean - (1 + eta * sd**2 / 4) / (2.0 * (1 - eta * 2.0 / 4))) < 4 * error


@pytest.mark.parametrize("kind", ["rmsprop", "adam"])
def test_a_frozen_preconditioner_leaves_the_target_exact(kind, generator):
    a = torch.tensor([9.0], dtype=torch.float64)
    params = sgld.Params(0.2, preconditioner=kind, freeze_after=500)

    mean, error = second_moment(params, noisy(a, 1.0), generator)
    scale = 1.0  # the added noise variance: eta P s / 4 relative, P about 1/|g| is small here

    assert abs(mean - 1 / 9.0) < 4 * error + 0.02 * scale / 9.0


def test_the_schedule_is_the_documented_one():
    params = sgld.Params(0.1, gamma=0.5, t0=100.0)

    assert sgld.step_size(params, 0) == pytest.approx(0.1)
    assert sgld.step_size(params, 300) == pytest.approx(0.1 * 4**-0.5)


def test_the_preconditioner_is_bounded_where_gradients_vanish():
    params = sgld.Params(0.1, preconditioner="rmsprop")
    moment = torch.tensor([0.0, 1.0], dtype=torch.float64)

    scale = sgld.preconditioner(moment, params)

    assert float(scale.max()) == pytest.approx(20.0)


def test_a_chain_that_leaves_the_numbers_is_told(generator):
    a = torch.tensor([2.0], dtype=torch.float64)
    kernel = sgld.build(potential(a), potential(a), sgld.Params(1e6))
    state = kernel.init(torch.ones(2, 1, dtype=torch.float64), generator)
    for _ in range(80):
        state, info = kernel.step(state, generator)

    assert bool(info.diverged.all())


def test_the_preconditioner_learns_for_exactly_as_many_steps_as_it_is_told(generator):
    a = torch.tensor([2.0], dtype=torch.float64)
    params = sgld.Params(0.1, preconditioner="rmsprop", freeze_after=3)
    kernel = sgld.build(noisy(a, 1.0), noisy(a, 1.0), params)
    state = kernel.init(torch.ones(4, 1, dtype=torch.float64), generator)
    moments, costs = [float(state.second_moment)], []
    for _ in range(5):
        state, info = kernel.step(state, generator)
        moments.append(float(state.second_moment))
        costs.append(info.grad_evals)

    assert len(set(moments[:4])) == 4
    assert moments[3] == moments[4] == moments[5]
    assert costs == [2, 2, 2, 1, 1]


@pytest.mark.parametrize("noise", ["leimkuhler_matthews", "euler"])
def test_heat_is_what_the_virial_has_beyond_the_dimension(noise, generator):
    """Of a stiff well in a wide one, at nearly the longest step, with gradient noise."""

    def energy(w, generator):
        error = torch.randn(w.shape, generator=generator, dtype=w.dtype)
        return (10 * w.cosh().log() + w**2 / 200).sum(-1), 10 * w.tanh() + w / 100 + error

    params = sgld.Params(0.3, noise=noise)
    kernel = sgld.build(energy, energy, params)
    state = kernel.init(torch.zeros(64, 2, dtype=torch.float64), generator)

    def observe(before, after):
        virial = (before.position * after.gradient).sum(-1)
        return {"beyond": virial - 2.0, "heat": sgld.heat(before, after, params)}

    _, trace = chain.run(kernel, state, generator, chain.Schedule(4000), observe, Deadline())
    beyond, heat = (trace.values[name][400:] for name in ("beyond", "heat"))

    assert float(heat.mean()) > 0.1
    assert abs(float((beyond - heat).mean())) < 4 * mcse(beyond - heat)
    assert mcse(heat) < 0.8 * mcse(beyond)
