import math
from itertools import pairwise

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain, nuts
from parsl_optuna.kernels.diagnostics import mcse

from tests.unit.kernels.gaussian import potential

PRECISION = torch.logspace(0, 2, 4).double()
SIGMAS = 4.0


def draws(energy, start, params, n_steps, generator, observe):
    """Return the trace of observables of positions ``(chains, dim)``, without a burn-in of a tenth."""
    kernel = nuts.build(energy, params)
    schedule = chain.Schedule(n_steps)
    state = kernel.init(start, generator)
    seen = chain.run(kernel, state, generator, schedule, lambda _, at: observe(at.position), Deadline())[1]
    return seen, {name: value[n_steps // 10 :] for name, value in seen.values.items()}


def assert_mean(values, truth):
    assert abs(float(values.mean()) - truth) < SIGMAS * mcse(values)


def params(size, dim, **more):
    return nuts.Params(size, torch.ones(dim).double(), **more)


def banana(w, generator):
    """x normal, y normal around x^2 with a standard deviation of 1/2: E[y] = 1, E[y^2] = 3.25."""
    x, y = w.T
    off = 4.0 * (y - x.square())
    return 0.5 * x.square() + 0.125 * off.square(), torch.stack([x - 2.0 * x * off, off], dim=1)


def funnel(w, generator):
    """v normal, x normal with the variance e^v: E[v^2] = 1, E[x^2] = e^0.5."""
    v, x = w.T
    narrow = torch.exp(-v) * x
    energy = 0.5 * (v.square() + narrow * x + v)
    return energy, torch.stack([v - 0.5 * narrow * x + 0.5, narrow], dim=1)


@pytest.mark.parametrize("mass", ["unit", "fitted"])
@pytest.mark.parametrize("spread", [0.0, 6.0])
def test_variances_of_a_normal_of_condition_100_are_exact(generator, mass, spread):
    inverse_mass = 1 / PRECISION if mass == "fitted" else torch.ones(4).double()
    size = 1.0 if mass == "fitted" else 0.12
    settings = nuts.Params(size, inverse_mass, spread, most_doublings=6)
    start = torch.zeros(32, 4).double()

    def observe(w):
        return {str(i): (w * w)[:, i] for i in range(4)}

    _, found = draws(potential(PRECISION), start, settings, 150, generator, observe)

    for values, precision in zip(found.values(), PRECISION, strict=True):
        assert_mean(values, 1 / float(precision))


def test_a_banana_is_followed_around_its_bend(generator):
    start = torch.zeros(32, 2).double()

    def observe(w):
        return {"y": w[:, 1], "y^2": w[:, 1].square(), "x^2": w[:, 0].square()}

    _, found = draws(banana, start, params(0.25, 2), 150, generator, observe)

    assert_mean(found["y"], 1.0)
    assert_mean(found["y^2"], 3.25)
    assert_mean(found["x^2"], 1.0)


@pytest.mark.slow
def test_a_funnel_is_drawn_from_mouth_to_neck(generator):
    start = torch.zeros(64, 2).double()

    def observe(w):
        return {"v": w[:, 0], "v^2": w[:, 0].square(), "x^2": w[:, 1].square()}

    _, found = draws(funnel, start, params(0.2, 2, spread=3.0), 2000, generator, observe)

    assert_mean(found["v"], 0.0)
    assert_mean(found["v^2"], 1.0)
    assert_mean(found["x^2"], math.exp(0.5))


def test_chains_that_end_early_have_the_same_law_beside_those_that_go_on(generator):
    """Every second one is in a well at -50 that is five times as wide, and takes about five times as long."""

    def wells(w, generator):
        precision = torch.where(w > 0, 1.0, 0.04)
        gradient = precision * (w - 50.0 * w.sign())
        return 0.5 * (gradient.square() / precision).sum(-1), gradient

    start = 50.0 * torch.tensor([1.0, -1.0]).double().repeat(32).unsqueeze(1)

    def observe(w):
        return {"square": (w.abs() - 50.0).square()[:, 0]}

    _, found = draws(wells, start, params(0.7, 1), 150, generator, observe)

    assert_mean(found["square"][:, ::2], 1.0)
    assert_mean(found["square"][:, 1::2], 25.0)


def test_a_trajectory_that_leaves_the_finite_numbers_is_rejected_and_told(generator):
    def observe(w):
        return {"w": w[:, 0]}

    trace, _ = draws(
        potential(PRECISION), torch.zeros(8, 4).double(), params(50.0, 4), 20, generator, observe
    )

    assert bool(trace.diverged.all())
    assert float(trace.acceptance.max()) == 0.0
    assert float(trace.values["w"].abs().max()) == 0.0


def test_only_the_divergence_of_a_short_step_is_told(generator):
    def observe(w):
        return {"w": w[:, 0]}

    settings = params(1.0, 4, spread=6.0, most_doublings=6)  # the limit is 0.2, above all short steps
    trace, _ = draws(potential(PRECISION), torch.zeros(64, 4).double(), settings, 50, generator, observe)

    assert float((trace.energy_change > 1000.0).double().mean()) > 0.05
    assert not bool(trace.diverged.any())


def test_a_step_does_not_change_its_argument(generator):
    kernel = nuts.build(potential(PRECISION), params(0.1, 4))
    state = kernel.init(torch.ones(2, 4).double(), generator)
    before = [leaf.clone() for leaf in state]

    kernel.step(state, generator)

    assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))


def test_a_trajectory_is_about_half_a_period_long_at_any_step(generator):
    """Half of a period is 3.14; doubling adds as much again at most, and what turns inside ends at once."""
    lengths = []
    for size in (0.2, 0.1, 0.05):
        kernel = nuts.build(potential(PRECISION[:1]), params(size, 1))
        state = kernel.init(torch.randn(64, 1, generator=generator).double(), generator)
        lengths.append(size * sum(kernel.step(state, generator)[1].grad_evals for _ in range(5)) / 5)

    assert all(1.5 < length < 4.0 for length in lengths), lengths


def test_gradients_are_counted_as_they_are_computed_and_only_of_chains_that_go_on(generator):
    rows = []

    def counted(w, generator):
        rows.append(len(w))
        return potential(PRECISION)(w, generator)

    kernel = nuts.build(counted, params(0.1, 4))
    state = kernel.init(torch.randn(16, 4, generator=generator).double(), generator)
    rows.clear()
    _, info = kernel.step(state, generator)

    assert info.grad_evals == math.ceil(sum(rows) / 16)
    assert rows[0] == 16 > rows[-1]
    assert all(before >= after for before, after in pairwise(rows[-8:]))


def test_a_trajectory_has_no_more_steps_than_allowed(generator):
    kernel = nuts.build(potential(PRECISION), params(1e-4, 4, most_doublings=5))
    state = kernel.init(torch.randn(8, 4, generator=generator).double(), generator)

    after, info = kernel.step(state, generator)

    assert info.grad_evals == 31
    assert not torch.equal(after.position, state.position)


def turns(momenta, first, last):
    """Stan's criterion, of momenta ``(leaves, dim)`` with a unit mass."""
    way = momenta.sum(0)
    return bool(way @ first <= 0) or bool(way @ last <= 0)


def turns_anywhere(momenta):
    """Whether a subtree of 2, 4, ... leaves turns, whole or by a half with the next leaf of the other one."""
    n = len(momenta)
    if n == 1:
        return False
    left, right = momenta[: n // 2], momenta[n // 2 :]
    return (
        turns_anywhere(left)
        or turns_anywhere(right)
        or turns(momenta, left[0], right[-1])
        or turns(torch.cat([left, right[:1]]), left[0], right[0])
        or turns(torch.cat([left[-1:], right]), left[-1], right[-1])
    )


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_subtrees_are_checked_as_by_recursion_over_all_of_them(generator, depth):
    energy, size = potential(PRECISION), 0.5 / 2**depth
    start = torch.randn(256, 4, generator=generator).double() / PRECISION.sqrt()
    momentum = torch.randn(256, 4, generator=generator).double()
    ones, forward = torch.ones(4).double(), torch.arange(256) % 2 == 0
    state = nuts.init(start, generator, potential=energy)
    tree = nuts._started(state, momentum, torch.full((256, 1), size).double(), ones)
    grow = nuts._Growth(energy, ones, generator, nuts._Leaves(state.potential))
    at, signed, momenta = tree.front, torch.where(forward, size, -size).unsqueeze(1), []
    for _ in range(2**depth):
        at, _ = grow._leapfrog(at, signed)
        momenta.append(at.momentum)

    found = grow._subtree(tree, tree.front, forward, depth)

    expected = [i for i in range(256) if not turns_anywhere(torch.stack(momenta)[:, i])]
    assert found.row.tolist() == expected
    assert 0 < len(expected) < 256
