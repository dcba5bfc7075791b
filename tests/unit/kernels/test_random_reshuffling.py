import math

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain, langevin
from parsl_optuna.kernels import random_reshuffling as reshuffling
from parsl_optuna.kernels.diagnostics import mcse
from parsl_optuna.kernels.snapshot import dumps, loads, rebuild

PRECISION = torch.tensor([0.5, 2.0], dtype=torch.float64)
PUSHES = 2.0 * torch.tensor([[1.0, -1.0], [-1.5, 0.5], [-0.5, -0.5], [1.0, 1.0]], dtype=torch.float64)
"""What parts of the data push too much; they sum to zero."""

STEP = 0.2


def parts(pushes, precision=PRECISION):
    """Return U = 1/2 w' diag(precision) w + push . w for every push."""

    def of(push):
        def energy(w, generator):
            gradient = precision * w + push
            return 0.5 * (w * (gradient + push)).sum(-1), gradient

        return energy

    return reshuffling.Energies([of(push) for push in pushes], of(torch.zeros_like(pushes[0])))


def squares(kernel, generator, n_steps=8_000, every=5):
    """Return the squared coordinates ``(draws, chains, dim)`` of 128 chains."""
    state = kernel.init(torch.zeros(128, 2).double(), generator)

    def observe(before, after):
        position = after.at.position if isinstance(after, reshuffling.State) else after.position
        return {str(i): position[:, i].square() for i in range(2)}

    trace = chain.run(kernel, state, generator, chain.Schedule(n_steps, every), observe, Deadline())[1]
    return [value[len(value) // 10 :] for value in trace.values.values()]


def afresh(energies):
    """Return U of a part that is drawn anew every time."""

    def energy(w, generator):
        drawn = int(torch.randint(len(energies.minibatches), (1,), generator=generator))
        return energies.minibatches[drawn](w, generator)

    return energy


def test_errors_that_cancel_over_an_epoch_hardly_heat_and_fresh_ones_do(generator):
    """Independent errors of covariance C make the temperature of a direction 1 + h C / (2 friction)."""
    energies = parts(PUSHES)
    variances = PUSHES.square().mean(0)
    motion = langevin.Params(STEP, rejection_threshold=math.inf)

    in_epochs = squares(reshuffling.build(energies, reshuffling.Params(STEP)), generator)
    fresh = squares(langevin.build(afresh(energies), motion), generator)

    for i, precision in enumerate(PRECISION):
        expected = 0.5 * STEP * float(variances[i])
        heats = [float(value[i].mean() * precision) - 1.0 for value in (in_epochs, fresh)]
        errors = [mcse(value[i]) * float(precision) for value in (in_epochs, fresh)]
        assert heats[1] == pytest.approx(expected, abs=4 * errors[1] + 0.15 * expected)
        assert heats[0] < 0.15 * expected + 4 * errors[0]


def test_every_part_comes_once_per_epoch_in_changing_order(generator):
    seen = []

    def spy(index):
        def energy(w, generator):
            seen.append(index)
            return w.square().sum(-1), 2.0 * w

        return energy

    energies = reshuffling.Energies([spy(i) for i in range(4)], lambda w, _: (w.square().sum(-1), 2.0 * w))
    kernel = reshuffling.build(energies, reshuffling.Params(STEP))
    state = kernel.init(torch.zeros(2, 3), generator)
    for _ in range(39):
        state, _ = kernel.step(state, generator)

    rounds = [tuple(seen[i : i + 4]) for i in range(0, 40, 4)]
    assert all(sorted(one) == [0, 1, 2, 3] for one in rounds)
    assert len(set(rounds)) > 3


def test_what_gained_too_much_energy_turns_back_to_where_it_was_looked_at(generator):
    steep = parts(PUSHES, precision=torch.tensor([400.0, 400.0], dtype=torch.float64))
    kernel = reshuffling.build(
        steep, reshuffling.Params(STEP, every=3, rejection_threshold=5.0)
    )  # 2 / sqrt(400) = 0.1 is the limit
    start = kernel.init(torch.zeros(8, 2).double(), generator)

    state, infos = start, []
    for _ in range(3):
        state, info = kernel.step(state, generator)
        infos.append(info)

    assert torch.equal(state.at.position, start.at.position)
    assert torch.equal(state.at.momentum, -start.at.momentum)
    assert float(infos[-1].energy_change.min()) > 5.0
    assert [float(info.energy_change.abs().max()) > 0 for info in infos] == [False, False, True]


def test_energy_errors_are_those_of_all_the_steps_between_looks(generator):
    """Of one part and without friction steps are those of `langevin`, whose errors are told one by one."""
    energies = parts(torch.zeros(1, 2).double())
    frictionless = langevin.Params(STEP, friction=0.0, rejection_threshold=math.inf)
    single = langevin.build(energies.minibatches[0], frictionless)
    kernel = reshuffling.build(energies, reshuffling.Params(STEP, friction=0.0, every=4))
    state = kernel.init(torch.ones(16, 2).double(), generator)
    one = langevin.State(*state.at[:2], state.seen.energy, state.at.gradient)

    total = torch.zeros(16).double()
    for _ in range(4):
        one, info = single.step(one, generator)
        total += info.energy_change
        state, told = kernel.step(state, generator)

    assert float(total.abs().max()) > 1e-4
    assert torch.allclose(told.energy_change, total)
    assert torch.allclose(state.at.position, one.position)


def test_a_state_in_the_middle_of_an_epoch_can_be_kept(generator):
    kernel = reshuffling.build(parts(PUSHES), reshuffling.Params(STEP, every=3, rejection_threshold=5.0))
    state = kernel.init(torch.ones(4, 2).double(), generator)
    for _ in range(5):
        state, _ = kernel.step(state, generator)
    kept, seed = rebuild(state, loads(dumps(state))), generator.get_state()

    on, _ = kernel.step(state, generator)
    generator.set_state(seed)
    resumed, _ = kernel.step(kept, generator)

    assert dumps(on) == dumps(resumed)
