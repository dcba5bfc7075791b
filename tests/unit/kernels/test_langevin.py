import math

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain, langevin
from parsl_optuna.kernels.diagnostics import mcse

from tests.unit.kernels.gaussian import potential

PRECISION = torch.tensor([0.04, 1.0, 4.0], dtype=torch.float64)
SIGMAS = 4.0


def quartic(w, generator):
    """U = w^4, whose E[w^4] is 1/4: the virial of a fourth power."""
    return w.pow(4).sum(-1), 4.0 * w.pow(3)


def squares(energy, start, params, n_steps, generator, power=2):
    """Return the powers of the coordinates ``(draws, chains, dim)``."""
    kernel = langevin.build(energy, params)

    def observe(before, after):
        return {str(i): after.position[:, i].pow(power) for i in range(start.shape[1])}

    state = kernel.init(start, generator)
    trace = chain.run(kernel, state, generator, chain.Schedule(n_steps), observe, Deadline())[1]
    return trace, [value[n_steps // 10 :] for value in trace.values.values()]


@pytest.mark.parametrize("size", [0.1, 0.5, 0.95])
def test_without_a_test_variances_are_exact_on_a_quadratic_for_every_stable_step(generator, size):
    """2 / sqrt(4) = 1 is the limit; the widest direction has moved over its width many times."""
    params = langevin.Params(size, friction=0.5, rejection_threshold=math.inf)

    _, found = squares(potential(PRECISION), torch.zeros(64, 3).double(), params, 6000, generator)

    for square, precision in zip(found, PRECISION, strict=True):
        assert abs(float(square.mean()) * float(precision) - 1.0) < SIGMAS * mcse(square) * float(precision)


def test_with_a_test_a_fourth_power_is_exact_at_a_long_step(generator):
    start = torch.zeros(64, 1).double()

    trace, exact = squares(quartic, start, langevin.Params(0.5), 8000, generator, power=4)
    _, free = squares(quartic, start, langevin.Params(0.5, rejection_threshold=2.0), 8000, generator, power=4)

    assert abs(float(exact[0].mean()) - 0.25) < SIGMAS * mcse(exact[0])
    assert abs(float(free[0].mean()) - 0.25) > SIGMAS * mcse(free[0])  # so that the test above can fail
    assert 0.5 < float(trace.acceptance.mean()) < 0.98


def test_a_rejected_step_stays_and_turns_back(generator):
    kernel = langevin.build(potential(PRECISION), langevin.Params(50.0))
    state = kernel.init(torch.ones(4, 3).double(), generator)

    after, info = kernel.step(state, generator)

    assert torch.equal(after.position, state.position)
    assert torch.equal(after.momentum, -state.momentum)
    assert bool(info.diverged.all())
    assert float(info.acceptance.max()) == 0.0


def test_errors_below_the_threshold_pass_and_no_large_ones(generator):
    """A chain in a place too steep for its step gains no more energy per step than the threshold."""
    kernel = langevin.build(quartic, langevin.Params(0.8, rejection_threshold=1.0))
    state = kernel.init(torch.full((256, 1), 1.5).double(), generator)
    for _ in range(500):
        after, info = kernel.step(state, generator)
        moved = (after.position != state.position).squeeze(-1)
        assert bool(moved[info.energy_change <= 1.0].all())
        assert not bool(moved[info.energy_change > 30.0].any())
        state = after

    assert bool(torch.isfinite(state.position).all())


def test_without_friction_energy_is_kept_to_second_order(generator):
    """One step of a symmetric splitting has a local error of third order."""

    def error(size):
        stream = torch.Generator().manual_seed(0)
        kernel = langevin.build(potential(PRECISION), langevin.Params(size, friction=0.0))
        state = kernel.init(torch.ones(1000, 3).double(), stream)
        return float(kernel.step(state, stream)[1].energy_change.abs().mean())

    assert error(0.2) / error(0.1) == pytest.approx(8.0, rel=0.2)


def test_the_threshold_is_four_standard_deviations_whatever_the_tails(generator):
    errors = 0.3 * torch.randn(20_000, 10, generator=generator)
    errors[:400] = 1e6

    assert langevin.rejection_threshold(errors).tolist() == pytest.approx([4 * 0.3] * 10, rel=0.05)


def test_a_chain_with_larger_errors_than_the_others_is_allowed_its_own(generator):
    errors = torch.randn(20_000, 10, generator=generator)
    errors[:, 3] *= 5.0
    errors[:, 4] *= 0.2

    thresholds = langevin.rejection_threshold(errors)

    assert float(thresholds[3]) == pytest.approx(4 * 5.0, rel=0.05)
    assert float(thresholds[4]) == pytest.approx(4 * 1.0, rel=0.05)


def test_errors_that_are_no_numbers_are_not_tolerated():
    for wrong in (math.nan, math.inf):
        assert langevin.rejection_threshold(torch.full((3, 2), wrong)).tolist() == [0.0, 0.0]


def test_a_chain_whose_errors_are_no_numbers_has_the_thresholds_of_the_others():
    errors = torch.ones(9, 3)
    errors[:, 1] = math.inf

    thresholds = langevin.rejection_threshold(errors)

    assert float(thresholds[1]) == float(thresholds[0]) > 0.0
