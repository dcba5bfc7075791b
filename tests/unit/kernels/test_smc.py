"""Sequential Monte Carlo: populations that are the target, with its evidence, on laws in closed form."""

import math

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import hmc, metric, smc
from parsl_optuna.kernels.normal import Normal, prior

GROUPS, SIZE = 12, 48
FLOAT = torch.float64


def target(precisions, centre=0.0):
    precisions = torch.tensor(precisions, dtype=FLOAT)

    def energy(w, generator):
        del generator
        gradient = precisions * (w - centre)
        return 0.5 * (gradient * (w - centre)).sum(1), gradient

    return energy


def population(energy, dim, reference=None, seed=0, **settings):
    """Take a population to the end."""
    stream = torch.Generator().manual_seed(seed)
    zero = torch.zeros(dim, dtype=FLOAT)
    reference = prior(zero, 1.0) if reference is None else reference
    params = smc.Params(GROUPS, **settings)
    bridge = smc.Bridge(reference.energy, energy)
    w = reference.draws(GROUPS * SIZE, stream)
    state = smc.init(w, stream, bridge=bridge, params=params, start=metric.isotropic(zero, 1.0))
    temperatures = []
    while state.temperature < 1.0:
        state = smc.step(state, stream, bridge=bridge, params=params, deadline=Deadline())
        temperatures.append(state.temperature)
    return state, temperatures


def test_a_normal_law_comes_out_with_its_evidence():
    precisions = [1.0, 30.0, 1000.0]

    state, temperatures = population(target(precisions), 3)

    assert temperatures == sorted(temperatures)
    seen = state.position.square().mean(0) * torch.tensor(precisions, dtype=FLOAT)
    assert torch.allclose(seen, torch.ones(3, dtype=FLOAT), atol=0.25)  # 4 sd of 576 squares of normals
    exact = -0.5 * sum(math.log(one) for one in precisions)
    spread = float(state.log_evidence.std()) / math.sqrt(GROUPS)
    assert abs(float(state.log_evidence.logsumexp(0)) - math.log(GROUPS) - exact) < 4 * spread + 0.05
    assert state.correlation <= 0.5


def test_parts_get_the_shares_of_their_evidence():
    """Two normal wells, one of them a tenth as wide: their shares are those of the mixture."""
    narrow, wide, share, at = 400.0, 4.0, 0.7, 2.0

    def energy(w, generator):
        del generator
        w = w.detach().requires_grad_()
        first = math.log(share * math.sqrt(narrow)) - 0.5 * narrow * w.square().sum(1)
        second = math.log((1 - share) * math.sqrt(wide)) - 0.5 * wide * (w - at).square().sum(1)
        value = -torch.logaddexp(first, second)
        (gradient,) = torch.autograd.grad(value.sum(), w)
        return value.detach(), gradient

    state, _ = population(energy, 1, kept=0.8)

    weights = state.log_evidence.softmax(0)
    of_group = (state.position[:, 0] < 0.5).to(FLOAT).unflatten(0, (GROUPS, -1)).mean(1)
    assert float((weights * of_group).sum()) == pytest.approx(share, abs=0.12)
    assert float(state.log_evidence.logsumexp(0)) - math.log(GROUPS) == pytest.approx(0.0, abs=0.3)


def test_a_reference_that_is_the_target_takes_one_temperature():
    stiffness = torch.tensor([3.0, 99.0], dtype=FLOAT)
    reference = Normal(torch.zeros(2, dtype=FLOAT), stiffness, torch.zeros(2, 0, dtype=FLOAT), 1.0)

    state, temperatures = population(target([4.0, 100.0]), 2, reference)

    assert temperatures == [1.0]
    assert torch.allclose(state.log_evidence, torch.zeros(GROUPS, dtype=FLOAT), atol=1e-9)


def test_particles_of_infinite_energy_have_no_weight():
    whole = target([9.0])

    def half(w, generator):
        value, gradient = whole(w, generator)
        return torch.where(w[:, 0] > 0, value, torch.nan), gradient

    state, _ = population(half, 1)

    assert bool((state.position > 0).all())
    assert float(state.log_evidence.logsumexp(0)) - math.log(GROUPS) == pytest.approx(
        math.log(0.5 / 3), abs=0.15
    )


def test_a_loss_that_is_nowhere_finite_leaves_no_evidence():
    state, temperatures = population(lambda w, _: (w[:, 0] * torch.nan, w), 1)

    assert temperatures == [1.0]
    assert not bool(torch.isfinite(state.log_evidence).any())


def test_resampling_takes_each_as_often_as_it_weighs():
    weights = torch.tensor([[0.5, 0.25, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0]], dtype=FLOAT)

    chosen = smc.resampled(weights.log(), torch.Generator().manual_seed(1))

    assert chosen.tolist() == [0, 0, 1, 2, 4, 4, 4, 4]


def test_what_was_not_forgotten_is_seen_in_any_direction():
    stream = torch.Generator().manual_seed(0)
    before, after = (torch.randn(4000, 5, generator=stream, dtype=FLOAT) for _ in range(2))
    kept = after.clone()
    kept[:, 3] = 0.8 * before[:, 3] + 0.6 * after[:, 3]

    def state(z):
        return hmc.State(z, 0.5 * z.square().sum(1), z)

    assert smc.remembered(state(before), state(after), is_whole=True) < 0.05
    assert smc.remembered(state(before), state(kept), is_whole=True) == pytest.approx(0.8, abs=0.08)
    assert smc.remembered(state(before), state(kept), is_whole=False) < 0.2


def test_moves_end_with_the_deadline():
    moving = population(target([1.0, 1e6]), 2)[0]
    bridge = smc.Bridge(prior(torch.zeros(2, dtype=FLOAT), 1.0).energy, target([1.0, 1e6]))
    over = Deadline(1.0, now=lambda: 5.0, started=0.0)

    state = smc.forget(
        moving,
        torch.Generator().manual_seed(0),
        bridge=bridge,
        params=smc.Params(GROUPS, forgotten=-1.0),
        deadline=over,
    )

    assert state.moves == moving.moves + 1
