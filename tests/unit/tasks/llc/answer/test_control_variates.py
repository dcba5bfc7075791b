import math

import pytest
import torch
from parsl_optuna.kernels.diagnostics import mcse
from parsl_optuna.tasks.llc.answer.control_variates import LossCoordinates, adjusted, loss_coordinates

CURVATURE = torch.tensor([300.0, 20.0, 0.5, 0.0]).double()
GAMMA = 1.0
TRUTH = 0.5 * float((CURVATURE / (CURVATURE + GAMMA)).sum())
OFFSET = 0.1
"""Of the point at which virials are centred, in widths of the posterior: draws never tell it exactly."""


def normal_draws(generator, draws=64, chains=8):
    """Return excess, observables and known means of independent draws from a normal posterior."""
    precision = CURVATURE + GAMMA
    w = torch.randn(draws, chains, 4, generator=generator).double() / precision.sqrt()
    held = LossCoordinates(OFFSET / precision.sqrt(), (CURVATURE > GAMMA).double())
    flat, gradient = w.flatten(0, 1), (w * precision).flatten(0, 1)
    values = {
        "virial": (flat * gradient).sum(-1).reshape(draws, chains),
        "loss_virial": held.virial(flat, gradient).reshape(draws, chains),
    }
    return 0.5 * (CURVATURE * w.square()).sum(-1), values, {"virial": 4.0, "loss_virial": held.mean}


def test_coordinates_narrower_than_the_localiser_leaves_them_are_held(generator):
    widths = torch.tensor([0.05, 0.5, 0.95]).double() / math.sqrt(4.0)
    positions = 3.0 + widths * torch.randn(4000, 3, generator=generator).double()

    held = loss_coordinates(positions, 4.0, torch.ones(3).double())

    assert held.mask.tolist() == [1.0, 1.0, 0.0]
    assert held.mean == 2.0
    assert held.centre.tolist() == pytest.approx([3.0, 3.0, 1.0], abs=0.05)


def test_coordinates_that_left_the_finite_numbers_are_not_held():
    positions = torch.zeros(8, 2).double()
    positions[3, 0] = math.nan

    held = loss_coordinates(positions, 1.0, torch.ones(2).double())

    assert held.mask.tolist() == [0.0, 1.0]
    assert held.virial(torch.ones(1, 2).double(), torch.ones(1, 2).double()).tolist() == [1.0]


def test_the_virial_of_what_is_held_has_its_mean_wherever_it_is_centred(generator):
    """Integration by parts, on a density that is not normal: U = w^4 / 4, at centre 0.7."""
    grid = torch.linspace(-6.0, 6.0, 4001).double().unsqueeze(1)
    weights = torch.softmax(-grid.pow(4).squeeze(1) / 4.0, dim=0)
    held = LossCoordinates(torch.tensor([0.7]).double(), torch.ones(1).double())

    mean = float(weights @ held.virial(grid, grid.pow(3)))

    assert mean == pytest.approx(held.mean, abs=1e-6)


def test_on_a_normal_posterior_controls_take_most_of_the_error(generator):
    excess, values, known = normal_draws(generator)

    sharpened = adjusted(excess, values, known)

    assert mcse(sharpened) < 0.2 * mcse(excess)
    assert abs(float(sharpened.mean()) - TRUTH) < 4 * mcse(sharpened)


def test_intervals_with_controls_cover_the_truth(generator):
    """Of 300 short runs about 95 % lie within 1.96 errors; the bounds are 3.5 binomial sd."""
    hits = 0
    for _ in range(300):
        excess, values, known = normal_draws(generator)
        sharpened = adjusted(excess, values, known)
        hits += abs(float(sharpened.mean()) - TRUTH) < 1.96 * mcse(sharpened)

    assert 0.906 <= hits / 300 <= 0.994


def test_controls_may_leave_no_error_at_all():
    """Where the remainder is the same number in every draw, its variance is 0."""
    excess = (torch.arange(32).reshape(16, 2) % 4 == 0).double()

    sharpened = adjusted(excess, {"known": excess}, {"known": 0.375})

    assert float(sharpened.std()) == 0.0
    assert float(sharpened.mean()) == pytest.approx(0.375)


def test_controls_that_tell_nothing_of_the_loss_leave_it_as_it_is(generator):
    excess, values, known = normal_draws(generator)
    other = {name: torch.randn_like(value) + known[name] for name, value in values.items()}

    assert adjusted(excess, other, known) is excess


def test_controls_that_leave_a_slow_remainder_are_not_used(generator):
    """A remainder of 200 draws per effective one is not trusted, though its error would be a 17th."""
    excess = torch.randn(4000, 8, generator=generator).double()
    slow = torch.zeros_like(excess)
    for draw in range(1, len(slow)):
        slow[draw] = 0.99 * slow[draw - 1] + 0.03 * torch.randn(8, generator=generator)

    assert adjusted(excess, {"known": excess + 0.005 * slow}, {"known": 0.0}) is not excess
    assert adjusted(excess, {"known": excess + 0.02 * slow}, {"known": 0.0}) is excess


def test_controls_that_chains_do_not_agree_on_are_not_used(generator):
    excess, *_ = normal_draws(generator)
    apart = 0.2 * torch.arange(8.0).double()

    assert adjusted(excess, {"known": excess}, {"known": TRUTH}) is not excess
    assert adjusted(excess, {"known": excess + apart - apart.mean()}, {"known": TRUTH}) is excess


@pytest.mark.parametrize("broken", ["few", "infinite", "none"])
def test_where_nothing_can_be_fitted_the_loss_is_left_as_it_is(generator, broken):
    excess, values, known = normal_draws(generator, draws=8 if broken == "few" else 64)
    if broken == "infinite":
        values["loss_virial"][5, 1] = math.inf

    assert adjusted(excess, values, {} if broken == "none" else known) is excess
