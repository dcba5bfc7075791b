import math

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain, mclmc
from parsl_optuna.kernels.diagnostics import mcse

from tests.unit.kernels.gaussian import potential

PRECISION = torch.tensor([1.0, 4.0, 25.0, 1.0], dtype=torch.float64)


def run(params, n_steps, generator, chains=8):
    kernel = mclmc.build(potential(PRECISION), params)
    start = torch.randn(chains, 4, generator=generator, dtype=torch.float64) / PRECISION.sqrt()

    def observe(before, after):
        return {"energy": after.potential, "w2": after.position[:, 2] ** 2}

    schedule = chain.Schedule(n_steps)
    return chain.run(kernel, kernel.init(start, generator), generator, schedule, observe, Deadline())[1]


def test_the_adjusted_kernel_is_exact_at_a_coarse_step(generator):
    """E[U] = dim / 2 and E[w^2] = 1/a within 4 standard errors, although the step is coarse."""
    params = mclmc.Params(1.5, 3.0, PRECISION.rsqrt(), adjusted=True)

    trace = run(params, 5000, generator)

    assert 0.3 < float(trace.acceptance.mean()) < 0.999
    assert abs(float(trace.values["energy"].mean()) - 2.0) < 4 * mcse(trace.values["energy"])
    assert abs(float(trace.values["w2"].mean()) - 1 / 25) < 4 * mcse(trace.values["w2"])


@pytest.mark.slow
def test_the_unadjusted_kernel_is_right_at_a_fine_step(generator):
    params = mclmc.Params(0.3, 2.0, PRECISION.rsqrt())

    trace = run(params, 10_000, generator)

    assert abs(float(trace.values["energy"].mean()) - 2.0) < 4 * mcse(trace.values["energy"]) + 0.01


def test_energy_errors_show_a_step_that_is_too_large(generator):
    """The variance of the energy error grows about as the sixth power of the step."""

    def variance(step):
        gen = torch.Generator().manual_seed(3)
        trace = run(mclmc.Params(step, 2.0, PRECISION.rsqrt()), 3000, gen)
        return float(trace.energy_change.square().mean())

    assert 4.0 < math.log2(variance(0.8) / variance(0.4)) < 8.0


def test_turning_keeps_unit_length_and_reverses(generator):
    direction = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    direction = direction / direction.norm(dim=1, keepdim=True)
    gradient = torch.randn(5, 3, generator=generator, dtype=torch.float64)

    there, change = mclmc.turn(direction, gradient, 0.7)
    back, change_back = mclmc.turn(-there, gradient, 0.7)

    assert torch.allclose(there.norm(dim=1), torch.ones(5, dtype=torch.float64))
    assert torch.allclose(-back, direction, atol=1e-9)
    assert torch.allclose(change + change_back, torch.zeros(5, dtype=torch.float64), atol=1e-9)


def test_turning_does_not_overflow():
    direction = torch.tensor([[1.0, 0.0]], dtype=torch.float64)

    turned, change = mclmc.turn(direction, torch.tensor([[1e8, 0.0]], dtype=torch.float64), 1.0)

    assert torch.isfinite(turned).all()
    assert torch.isfinite(change).all()


def test_one_dimension_is_refused(generator):
    kernel = mclmc.build(potential(PRECISION[:1]), mclmc.Params(0.1, 1.0, torch.ones(1)))

    with pytest.raises(ValueError, match="at least 2 dimensions"):
        kernel.init(torch.zeros(2, 1), generator)
