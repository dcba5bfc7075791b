import math

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain, hmc
from parsl_optuna.kernels.diagnostics import mcse

from tests.unit.kernels.gaussian import potential

PRECISION = torch.tensor([1.0, 4.0, 100.0], dtype=torch.float64)


def draw(params, n_steps, generator):
    kernel = hmc.build(potential(PRECISION), params)
    start = torch.zeros(8, 3, dtype=torch.float64)

    def observe(before, after):
        return {f"w{i}": after.position[:, i] for i in range(3)}

    schedule = chain.Schedule(n_steps)
    return chain.run(kernel, kernel.init(start, generator), generator, schedule, observe, Deadline())[1]


def test_variances_are_exact_within_their_errors(generator):
    """Metropolis makes HMC exact at any step size; 4 standard errors over 3 coordinates."""
    params = hmc.Params(0.8, 1 / PRECISION, 3)

    trace = draw(params, 4000, generator)

    for i, precision in enumerate(PRECISION):
        square = trace.values[f"w{i}"][200:] ** 2
        assert abs(float(square.mean()) - 1 / float(precision)) < 4 * mcse(square)


def test_a_step_beyond_the_stability_limit_is_rejected_and_told(generator):
    params = hmc.Params(50.0, 1 / PRECISION, 10)

    trace = draw(params, 50, generator)

    assert bool(trace.diverged.all())
    assert float(trace.acceptance.max()) == 0.0
    assert float(trace.values["w0"].abs().max()) == 0.0


def test_a_step_does_not_change_its_argument(generator):
    kernel = hmc.build(potential(PRECISION), hmc.Params(0.5, 1 / PRECISION, 3))
    state = kernel.init(torch.ones(2, 3, dtype=torch.float64), generator)
    before = [leaf.clone() for leaf in state]

    kernel.step(state, generator)

    assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))


def test_the_energy_error_shrinks_with_the_square_of_the_step(generator):
    """Leapfrog is second order: half the step over the same length, a quarter of the error."""

    def error(step, n_steps):
        kernel = hmc.build(potential(PRECISION[:1]), hmc.Params(step, torch.ones(1).double(), 1))
        gen = torch.Generator().manual_seed(0)
        state = kernel.init(torch.ones(1000, 1, dtype=torch.float64), gen)
        return float(kernel.step(state, gen)[1].energy_change.abs().mean())

    # One leapfrog step has a local energy error of third order.
    assert error(0.2, 1) / error(0.1, 1) == pytest.approx(8.0, rel=0.2)


def test_steps_of_many_sizes_leave_the_law_as_it_is(generator):
    params = hmc.Params(1.5, 1 / PRECISION, 3, spread=6.0)

    trace = draw(params, 4000, generator)

    for i, precision in enumerate(PRECISION):
        square = trace.values[f"w{i}"][200:] ** 2
        assert abs(float(square.mean()) - 1 / float(precision)) < 4 * mcse(square)


def test_short_steps_move_a_chain_where_long_ones_diverge_and_only_their_failure_is_told(generator):
    one_size = draw(hmc.Params(20.0, 1 / PRECISION, 40), 200, generator)
    many = draw(hmc.Params(20.0, 1 / PRECISION, 40, spread=6.0), 200, generator)

    assert float(one_size.acceptance.max()) == 0.0
    assert bool(one_size.diverged.all())
    assert float(many.acceptance.mean()) > 0.02
    assert float(many.diverged.double().mean()) < 0.5


def test_the_length_of_trajectories_varies_so_that_none_is_resonant(generator):
    """Ten steps of this size turn an oscillator by half a period exactly: w would become -w for ever."""
    size = 2.0 * math.sin(math.pi / 20)
    kernel = hmc.build(potential(PRECISION[:1]), hmc.Params(size, 1 / PRECISION[:1], 10))
    state = kernel.init(torch.randn(64, 1, generator=generator).double(), generator)
    squares, lengths = [], []
    for _ in range(100):
        state, info = kernel.step(state, generator)
        squares.append(state.position[:, 0].square())
        lengths.append(info.grad_evals)

    # Of a chain that never moves w^2 the mean of w^2 has its full variance, 2; of independent draws 2 / 100.
    assert float(torch.stack(squares).mean(0).var()) < 0.3
    assert (min(lengths), max(lengths)) == (5, 15)
