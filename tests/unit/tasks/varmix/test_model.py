"""Against full enumeration of a small model: 3 pixels, 3 units, 2 clusters, 16 latent states."""

import itertools

import pytest
import torch
from parsl_optuna.tasks.varmix.images import TRIALS
from parsl_optuna.tasks.varmix.model import (
    Mixture,
    kl,
    least_squares_rho,
    linear_term,
    penalty,
    sampled_psi,
    score_term,
)
from torch import Generator

X = torch.tensor([[3.0, 0.0, 16.0], [8.0, 15.0, 1.0]])
STATES = [
    (torch.tensor(y, dtype=torch.float), k) for k in (0, 1) for y in itertools.product((0, 1), repeat=3)
]


@pytest.fixture(params=[True, False], ids=["full", "hierarchical"])
def model(request):
    made = Mixture(torch.full((3,), 8.0), 3, 2, full=request.param, stream=Generator().manual_seed(1))
    with torch.no_grad():
        for one in made.parameters():
            one.copy_(0.15 * torch.randn(one.shape, generator=Generator().manual_seed(one.numel())))
    return made


def log_prior(model):
    logits = model.latent_logits
    bernoulli = torch.stack([(y * logits[k].sigmoid().log() + (1 - y) * (-logits[k]).sigmoid().log()).sum()
                             for y, k in STATES])  # fmt: skip
    return bernoulli + torch.stack([model.log_prior[k] for _, k in STATES])


def log_likelihood(model, x):
    found = []
    for y, k in STATES:
        eta = model.biases[k] + model.weights[k] @ y
        found.append(torch.distributions.Binomial(TRIALS, logits=eta).log_prob(x).sum(-1))
    return torch.stack(found, dim=-1)


def log_q(model, x):
    posterior = model.posterior(x)
    found = []
    for y, k in STATES:
        v = posterior.logits[:, k]
        units = y * v.sigmoid().log() + (1 - y) * (-v).sigmoid().log()
        found.append(posterior.log_q[:, k] + units.sum(-1))
    return torch.stack(found, dim=-1)


def exact_elbo(model, x):
    q = log_q(model, x)
    return (q.exp() * (log_likelihood(model, x) + log_prior(model) - q)).sum(-1)


def test_prior_and_posterior_are_normalised(model):
    assert torch.allclose(log_prior(model).exp().sum(), torch.tensor(1.0), atol=1e-5)
    assert torch.allclose(log_q(model, X).exp().sum(-1), torch.ones(2), atol=1e-5)


def test_the_divergence_is_that_of_the_enumeration(model):
    q = log_q(model, X)
    exact = (q.exp() * (q - log_prior(model))).sum(-1)

    assert torch.allclose(kl(model, model.posterior(X)), exact, atol=1e-4)


def test_the_bound_is_that_of_the_enumeration(model):
    posterior = model.posterior(X)
    psi, _ = sampled_psi(model, posterior, 20000, Generator().manual_seed(0))
    bound = linear_term(model, X, posterior) - psi.mean(1) - kl(model, posterior)
    error = psi.std(1) / 20000**0.5

    assert ((bound - exact_elbo(model, X)).abs() < 4 * error + 1e-3).all()


def test_its_gradient_is_that_of_the_enumeration(model):
    names = [name for name, one in model.named_parameters() if one.numel()]
    weights = [dict(model.named_parameters())[name] for name in names]
    exact = torch.autograd.grad(exact_elbo(model, X).sum(), weights)
    total = [torch.zeros_like(one) for one in weights]
    squares = [torch.zeros_like(one) for one in weights]
    rounds, stream = 60, Generator().manual_seed(0)
    for _ in range(rounds):
        posterior = model.posterior(X)
        psi, q = sampled_psi(model, posterior, 400, stream)
        bound = linear_term(model, X, posterior) - psi.mean(1) - kl(model, posterior) + score_term(psi, q)
        for index, one in enumerate(torch.autograd.grad(bound.sum(), weights)):
            total[index] += one / rounds
            squares[index] += one.square() / rounds
    for name, mean, square, truth in zip(names, total, squares, exact, strict=True):
        error = ((square - mean.square()).clamp_min(0) / rounds).sqrt()
        assert ((mean - truth).abs() < 5 * error + 2e-3).all(), name


def test_a_conjugated_likelihood_makes_the_posterior_exact(model):
    """Where psi is linear in y, with that slope as rho, q is the true posterior."""
    slope = torch.tensor([0.3, -0.2, 0.5])
    weights, biases = model.weights.detach(), model.biases.detach()
    score = torch.stack([X @ (biases[k] + weights[k] @ y) - slope @ y for y, k in STATES], dim=-1)
    true = (score + log_prior(model)).log_softmax(-1)
    with torch.no_grad():
        model.rho.copy_(slope)

    # The bias b is common to all states; the clusters' own biases enter the scores.
    assert torch.allclose(log_q(model, X), true, atol=1e-4)


def test_without_weights_there_is_nothing_to_conjugate(model):
    with torch.no_grad():
        for one in (model.w, model.w_k, model.c_k):
            one.zero_()
    y, k = model.prior_samples(500, Generator().manual_seed(0))

    assert float(penalty(model, torch.zeros(3), y, k).detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(least_squares_rho(model, y, k).detach().abs().max()) < 1e-3


def test_least_squares_recovers_a_linear_log_partition(model, monkeypatch):
    slope = torch.tensor([1.0, -2.0, 0.5])
    monkeypatch.setattr(Mixture, "psi", lambda self, y, k: y @ slope + 3.0)
    y, k = model.prior_samples(4000, Generator().manual_seed(0))

    assert torch.allclose(least_squares_rho(model, y, k), slope, atol=5e-3)


def test_prior_samples_follow_the_prior(model):
    y, k = model.prior_samples(40000, Generator().manual_seed(0))
    exact = log_prior(model).exp().detach()
    for (state, cluster), chance in zip(STATES, exact, strict=True):
        share = ((y == state).all(1) & (k == cluster)).float().mean()
        assert float(share) == pytest.approx(float(chance), abs=0.01)


def test_psi_is_that_of_each_draw_and_of_its_gradient_whatever_the_order(model):
    wide = Mixture(torch.full((3,), 8.0), 3, 5, full=True, stream=Generator().manual_seed(2))
    for one, clusters in ((model, 2), (wide, 4)):  # the fifth has no draw
        stream = Generator().manual_seed(3)
        y = torch.randint(0, 2, (40, 3), generator=stream).float()
        k = torch.randint(0, clusters, (40,), generator=stream)
        eta = [one.biases[j] + one.weights[j] @ row for row, j in zip(y, k, strict=True)]
        expected = TRIALS * torch.nn.functional.softplus(torch.stack(eta)).sum(-1)
        weight = torch.rand(40, generator=stream)
        found = one.psi(y, k)

        assert torch.allclose(found, expected, rtol=1e-5)
        ours, theirs = (
            torch.autograd.grad(weight @ value, one.w, retain_graph=True)[0] for value in (found, expected)
        )
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
