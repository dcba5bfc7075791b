import math
from types import SimpleNamespace

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import hmc, mclmc
from parsl_optuna.kernels.adapt import DualAveraging, EnergyVariance, Plan, WarmUp, window_ends
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.llc.engine.stages import Stages

from tests.unit.kernels.gaussian import potential

PRECISION = torch.logspace(-1, 3, 20, dtype=torch.float64)


def warmed_up(make, rule, plan, start, generator, deadline):
    stages = Stages(Checkpoint(), generator, SimpleNamespace(work=0.0))
    return stages.warm_up(WarmUp(make, rule, plan), start, deadline)


def hmc_of(step_size, variances):
    return hmc.build(potential(PRECISION), hmc.Params(step_size, variances, 8))


@pytest.mark.parametrize("target", [0.65, 0.8, 0.95])
def test_dual_averaging_reaches_its_target(target, generator):
    plan = Plan(1500, 1.0, torch.ones(20, dtype=torch.float64))
    start = torch.zeros(4, 20, dtype=torch.float64)
    warm = warmed_up(hmc_of, DualAveraging(target), plan, start, generator, Deadline())
    kernel, state = hmc_of(warm.step_size, warm.variances), warm.state
    seen = []
    for _ in range(500):
        state, info = kernel.step(state, generator)
        seen.append(float(info.acceptance.mean()))

    assert sum(seen) / len(seen) == pytest.approx(target, abs=0.08)


def test_variances_are_learned_from_all_chains(generator):
    """A condition number of 10,000 is found within a factor of 1.6 in each coordinate."""
    plan = Plan(2000, 0.1, torch.ones(20, dtype=torch.float64))
    start = torch.zeros(8, 20, dtype=torch.float64)

    warm = warmed_up(hmc_of, DualAveraging(0.8), plan, start, generator, Deadline())

    ratio = warm.variances * PRECISION
    assert float(ratio.min()) > 1 / 1.6
    assert float(ratio.max()) < 1.6


def test_the_energy_rule_reaches_its_target(generator):
    target = 1e-4

    def make(step_size, variances):
        return mclmc.build(potential(PRECISION), mclmc.Params(step_size, 4.5, variances.sqrt()))

    plan = Plan(1500, 0.5, 1 / PRECISION)
    start = torch.randn(4, 20, generator=generator, dtype=torch.float64) / PRECISION.sqrt()
    warm = warmed_up(make, EnergyVariance(target, 20), plan, start, generator, Deadline())
    kernel, state, seen = make(warm.step_size, warm.variances), warm.state, []
    for _ in range(500):
        state, info = kernel.step(state, generator)
        seen.append(float(info.energy_change.square().mean()) / 20)

    assert target / 4 < sum(seen) / len(seen) < 4 * target


def test_warm_up_stops_at_its_deadline(generator):
    ticks = iter(range(10_000))
    deadline = Deadline(50.0, now=lambda: float(next(ticks)))
    plan = Plan(10_000, 0.1, torch.ones(20, dtype=torch.float64))

    start = torch.zeros(2, 20, dtype=torch.float64)
    warm = warmed_up(hmc_of, DualAveraging(0.8), plan, start, generator, deadline)

    assert warm.n_steps == 50
    assert math.isfinite(warm.step_size)


@pytest.mark.parametrize("n", [0, 10, 20, 100, 300, 2000])
def test_windows_grow_and_end_before_the_final_buffer(n):
    ends = window_ends(n)

    assert ends == sorted(set(ends))
    assert all(end <= n - int(0.1 * n) for end in ends)
