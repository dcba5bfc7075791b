import math
from types import SimpleNamespace

import pytest
import torch
from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.kernels.types import Info, Kernel
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.llc.engine import draw as draws
from parsl_optuna.tasks.llc.engine.draw import Run
from parsl_optuna.tasks.llc.engine.stages import Stages

CHAINS = 8
COLD = [10.0] * CHAINS


def relaxing(start, rate):
    """Chains that relax to a mean of 10 with unit width."""
    noise = math.sqrt(1.0 - math.exp(-2.0 * rate))

    def step(state, generator):
        kick = torch.randn(CHAINS, generator=generator, dtype=torch.float64)
        new = 10.0 + math.exp(-rate) * (state - 10.0) + noise * kick
        ones = torch.ones(CHAINS)
        return new, Info(ones, 0.0 * ones, ones < 0.0, 1)

    kernel, state = Kernel(lambda position, _: position, step), torch.tensor(start, dtype=torch.float64)
    return Run(kernel, state, 1, lambda before, after: {"excess": after}, {}, {})


def drawn(run, generator, steps, wanted=1e-9):
    ticks = iter(range(10**6))
    stages = Stages(Checkpoint(), generator, SimpleNamespace(work=0.0))
    return draws.draw(run, stages, wanted, Deadline(steps, now=lambda: float(next(ticks))))


def test_burn_in_that_the_end_of_the_budget_leaves_is_dropped(generator):
    """One hot chain makes errors so large that the halves of the run seem to agree."""
    trace = drawn(relaxing([300.0, *COLD[1:]], rate=0.01), generator, steps=2000)

    assert trace.truncated
    assert float(trace.values["excess"].mean()) == pytest.approx(10.0, abs=1.0)


def test_chains_in_equilibrium_keep_their_draws(generator):
    trace = drawn(relaxing(COLD, rate=1.0), generator, steps=2000)

    assert trace.truncated
    assert trace.n_draws > 1000


def test_draws_end_at_the_error_wanted(generator):
    trace = drawn(relaxing(COLD, rate=1.0), generator, steps=100_000, wanted=0.002)

    excess = trace.values["excess"]
    assert not trace.truncated
    assert float(excess.std()) / math.sqrt(excess.numel()) == pytest.approx(0.02, rel=0.5)


def test_chains_draw_on_until_their_virial_can_be_checked(generator):
    plain = relaxing(COLD, 1.0)

    def observing(noise):
        def observe(before, after):
            kick = torch.randn(CHAINS, generator=generator, dtype=torch.float64)
            return plain.observe(before, after) | {"virial": 10.0 + noise * kick}

        return plain._replace(observe=observe, known={"virial": 10.0})

    short, long = (drawn(observing(noise), generator, steps=100_000, wanted=0.02) for noise in (1.0, 30.0))

    error = 3.0 / math.sqrt(CHAINS * long.n_draws)
    assert short.n_draws < long.n_draws
    assert error < 1.3 * draws.VIRIAL_KNOWN


def test_an_exact_chain_draws_on_while_its_virial_is_off(generator):
    """With a mean of 0.97 it would never end, where the error of the loss alone would do."""
    plain = relaxing(COLD, rate=1.0)

    def seen(ratio):
        def observe(before, after):
            return {"excess": after, "virial": ratio * plain.observe(before, after)["excess"]}

        return plain._replace(observe=observe, known={"virial": 10.0}, is_exact=True)

    assert drawn(seen(0.97), generator, steps=2000, wanted=0.01).truncated
    assert not drawn(seen(1.0), generator, steps=2000, wanted=0.01).truncated


@pytest.mark.parametrize("times", [range(2000), range(300, 400)])
def test_a_stuck_chain_and_a_rare_excursion_stay_in_the_draws(generator, times):
    """Dropping what lowers the standard error would drop the half with the excursion, and leave a smaller
    mean.
    """
    run, ticks = relaxing(COLD, rate=1.0), iter(range(10**6))

    def step(state, generator):
        new, info = run.kernel.step(torch.full_like(state, 10.0), generator)
        if next(ticks) in times:
            new[0] = 300.0
        return new, info

    trace = drawn(run._replace(kernel=Kernel(run.kernel.init, step)), generator, steps=2000)

    assert trace.truncated
    assert trace.n_draws > 1000
    assert float(trace.values["excess"].mean()) == pytest.approx(
        10 + 290 * len(times) / 2000 / CHAINS, rel=0.1
    )


def test_a_loss_that_is_out_of_time_before_the_burn_in_ends_the_drawing(generator):
    def step(state, generator):
        raise Expired("used up")

    run = relaxing(COLD, rate=1.0)
    run = run._replace(kernel=run.kernel._replace(step=step), burn_in=10)

    assert drawn(run, generator, steps=1).n_draws == 0
