import math

import pytest
import torch
from parsl_optuna.kernels import vi
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

DIM, COMPONENTS, RANK = 4, 3, 2


def params(own_diagonal=True, **changes):
    settings = {
        "lr": 0.02,
        "n_steps": 1500,
        "components": COMPONENTS,
        "rank": RANK,
        "own_diagonal": own_diagonal,
        "centre": torch.arange(DIM, dtype=torch.float64),
        "whitening": torch.linspace(0.5, 2.0, DIM, dtype=torch.float64),
        "initial_sd": torch.full((DIM,), 0.5, dtype=torch.float64),
    }
    return vi.Params(**(settings | changes))


def random_state(settings, generator, fits=2):
    fit = vi.build(lambda w, g: (w.sum(-1), torch.ones_like(w)), settings)
    state = fit.init(torch.zeros(fits, DIM, dtype=torch.float64), generator)
    noisy = [leaf + torch.randn(leaf.shape, generator=generator).double() for leaf in state.mixture]
    return fit, state._replace(mixture=vi.Mixture(*noisy))


def explicit(state, settings, fit):
    """Return the mixture of one fit as a torch distribution."""
    mixture = state.mixture
    sd = mixture.log_sd.expand_as(mixture.mean)[fit].exp()
    whitening = torch.diag(settings.whitening)
    covariances = []
    for m in range(COMPONENTS):
        factor, root = mixture.factor[fit, m], torch.diag(sd[m])
        inner = torch.eye(DIM, dtype=torch.float64) + factor @ factor.T
        covariances.append(whitening @ root @ inner @ root @ whitening)
    means = settings.centre + settings.whitening * mixture.mean[fit]
    weights = Categorical(logits=mixture.logits[fit])
    return MixtureSameFamily(weights, MultivariateNormal(means, torch.stack(covariances)))


@pytest.mark.parametrize("own_diagonal", [True, False])
def test_the_density_is_that_of_the_explicit_mixture(own_diagonal, generator):
    settings = params(own_diagonal)
    fit, state = random_state(settings, generator)
    w = fit.sample(state, generator, 20)

    found = vi.log_density(state.mixture, w, settings)

    for i in range(2):
        assert torch.allclose(found[i], explicit(state, settings, i).log_prob(w[i]), atol=1e-8)


@pytest.mark.parametrize("own_diagonal", [True, False])
def test_samples_have_the_covariance_of_the_mixture(own_diagonal, generator):
    settings = params(own_diagonal)
    fit, state = random_state(settings, generator, fits=1)
    truth = explicit(state, settings, 0)

    w = fit.sample(state, generator, 200_000)[0]

    assert torch.allclose(w.mean(0), truth.mean, rtol=0.05, atol=0.1)
    assert torch.allclose(w.var(0), truth.variance, rtol=0.05)


def test_the_quadratic_mean_includes_the_full_trace(generator):
    """Against the covariance and mean of the explicit mixture, diagonal part included."""
    settings = params()
    _, state = random_state(settings, generator, fits=1)
    root = torch.randn(DIM, DIM, generator=generator, dtype=torch.float64)
    hessian = root @ root.T
    truth = explicit(state, settings, 0)
    weights = truth.mixture_distribution.probs
    parts = truth.component_distribution
    shift = parts.mean - settings.centre
    expected = sum(
        weights[m] * (torch.trace(hessian @ parts.covariance_matrix[m]) + shift[m] @ hessian @ shift[m])
        for m in range(COMPONENTS)
    )

    found = vi.quadratic_mean(state, settings, lambda v: v @ hessian, hessian.diagonal())

    assert float(found[0]) == pytest.approx(float(expected), rel=1e-9)


def test_a_gaussian_target_is_found(generator):
    """Maximising the ELBO of a member of the family gives it back: mean, variance, log Z."""
    precision = torch.tensor([1.0, 4.0, 25.0, 0.5], dtype=torch.float64)
    mean = torch.tensor([0.3, 1.2, 2.0, 2.5], dtype=torch.float64)

    def energy(w, g):
        gradient = precision * (w - mean)
        return 0.5 * (gradient * (w - mean)).sum(-1), gradient

    settings = params(n_steps=3000)
    fit = vi.build(energy, settings)
    state = fit.init(torch.zeros(2, DIM, dtype=torch.float64), generator)
    for _ in range(3000):
        state, _ = fit.step(state, generator)
    w = fit.sample(state, generator, 50_000)[0]
    log_z = 0.5 * (torch.log(2 * torch.pi / precision)).sum()

    assert torch.allclose(w.mean(0), mean, atol=0.05)
    assert torch.allclose(w.var(0), 1 / precision, rtol=0.06)
    assert float(state.elbo.mean()) == pytest.approx(float(log_z), abs=0.1)


def test_a_step_does_not_change_its_argument(generator):
    fit, state = random_state(params(), generator)
    before = [leaf.clone() for leaf in state.mixture]

    fit.step(state, generator)

    assert all(torch.equal(a, b) for a, b in zip(before, state.mixture, strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_entries_of_a_gradient_that_are_not_finite_are_dropped(generator, bad):
    """From Adam's moments too: a second moment that overflows once would stop its coordinate for good."""

    def energy(w, g):
        gradient = w.clone()
        gradient[0, 0] = bad  # of the first fit
        return 0.5 * w.square().sum(-1), gradient

    fit = vi.build(energy, params())
    state = fit.init(torch.zeros(2, DIM, dtype=torch.float64), generator)
    for _ in range(5):
        state, _ = fit.step(state, generator)

    assert all(bool(torch.isfinite(leaf).all()) for leaf in (*state.mixture, *state.first, *state.second))
    assert not torch.equal(state.mixture.mean[0], torch.zeros_like(state.mixture.mean[0]))


def test_components_begin_with_unequal_widths_around_the_one_asked_for(generator):
    """Equal components get equal gradients but for chance, and stay one."""
    settings = params()
    state = vi.build(lambda w, g: (w.sum(-1), w), settings).init(torch.zeros(2, DIM).double(), generator)
    wanted = (settings.initial_sd / settings.whitening).log()

    log_sd = state.mixture.log_sd
    assert torch.allclose(log_sd.mean(1), wanted.expand(2, -1))
    assert float((log_sd[:, 1:] - log_sd[:, :-1]).min()) > 0.1


def test_factors_begin_small_and_not_at_zero_where_their_gradient_vanishes(generator):
    state = vi.build(lambda w, g: (w.sum(-1), w), params()).init(torch.zeros(50, DIM).double(), generator)

    factor = state.mixture.factor
    assert float(factor.std()) == pytest.approx(0.05, rel=0.1)  # of 1,200 normals: 2 %
    assert not torch.allclose(factor[:, 0], factor[:, 1])
