"""NMI, R2 and the rest, as the seed's table has them; and what simpler models reach."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor

from parsl_optuna.tasks.varmix.images import TRIALS, Images
from parsl_optuna.tasks.varmix.model import Mixture, kl, least_squares_rho, linear_term, sampled_psi

_ACTIVE = 0.01
"""A cluster is active that takes at least this share of the images."""

_LEAST_VARIANCE = 1e-6
"""Of psi, below which rounding is all that varies and there is nothing to explain."""

_ROUNDS = 100
"""Of EM: the default of scikit-learn's mixtures."""


def clusters(assigned: Tensor, labels: Tensor, n_clusters: int) -> dict[str, Any]:
    """Compare clusters ``(n,)`` with labels ``(n,)``, both on the CPU."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score  # noqa: PLC0415

    counts = torch.bincount(assigned, minlength=n_clusters).double()
    share = counts / counts.sum()
    table = torch.zeros(n_clusters, int(labels.max()) + 1, device=labels.device)
    table.index_put_((assigned, labels), torch.ones_like(labels, dtype=table.dtype), accumulate=True)
    known = share[share > 0]
    return {
        "nmi": nmi(assigned, labels, normalized_mutual_info_score),
        "ari": float(adjusted_rand_score(labels.numpy(), assigned.numpy())),
        "active": int((share >= _ACTIVE).sum()),
        "perplexity": float((-(known * known.log()).sum()).exp()),
        "purity": float(table.max(1).values.sum() / len(labels)),
    }


def nmi(assigned: Tensor, labels: Tensor, score: Any) -> float:
    """Return I(Y; C) / ((H(Y) + H(C)) / 2)."""
    return float(score(labels.numpy(), assigned.numpy(), average_method="arithmetic"))


@torch.no_grad()
def conjugation(model: Mixture, rho: Tensor, samples: int, stream: Generator) -> dict[str, float]:
    """Return R2 = 1 - Var[rho . y - psi] / Var[psi] over prior draws, and the best that any rho reaches.

    Both are clipped to [-10, 1], and not a number where psi does not vary.
    """
    y, k = model.prior_samples(samples, stream)
    psi = model.psi(y, k)
    variance = float(psi.var(correction=0))
    found = {"rho_norm": float(rho.norm()), "psi_variance": variance, "r2": math.nan, "r2_best": math.nan}
    if variance <= _LEAST_VARIANCE:
        return found
    best = least_squares_rho(model, y, k)
    for name, one in (("r2", rho), ("r2_best", best)):
        found[name] = min(max(1 - float((y @ one - psi).var(correction=0)) / variance, -10.0), 1.0)
    return found


@torch.no_grad()
def elbo(model: Mixture, rho: Tensor, x: Tensor, samples: int, stream: Generator) -> float:
    """Return the mean evidence lower bound: weight one on the KL divergence, fresh draws, no surrogate."""
    posterior = model.posterior(x, rho)
    psi, _ = sampled_psi(model, posterior, samples, stream)
    return float((linear_term(model, x, posterior) - psi.mean(1) - kl(model, posterior)).mean())


def baselines(images: Images, n_clusters: int, seed: int) -> dict[str, float]:
    """Return the NMI that k-means and a mixture of binomials reach; images on the CPU, as many clusters."""
    from sklearn.cluster import KMeans  # noqa: PLC0415
    from sklearn.metrics import normalized_mutual_info_score  # noqa: PLC0415

    starts: Any = 3
    means = KMeans(n_clusters, n_init=starts, random_state=seed).fit(images.train.numpy())
    by_means = torch.from_numpy(means.predict(images.test.numpy()))
    centres = torch.from_numpy(means.cluster_centers_).float()
    by_mixture = _mixture(images, centres)
    return {
        "kmeans_nmi": nmi(by_means, images.test_labels, normalized_mutual_info_score),
        "mixture_nmi": nmi(by_mixture, images.test_labels, normalized_mutual_info_score),
    }


def _mixture(images: Images, centres: Tensor) -> Tensor:
    """Fit a mixture of binomials by EM from the given centres; return the clusters of the test images."""
    rate = (0.98 * centres / TRIALS + 0.01).clamp(0.01, 0.99)
    prior = torch.full_like(centres[:, 0], 1.0 / len(centres))

    def scores(x: Tensor) -> Tensor:
        return x @ rate.logit().T + TRIALS * (1 - rate).log().sum(1) + prior.log()

    for _ in range(_ROUNDS):
        share = scores(images.train).softmax(1)
        weight = share.sum(0).clamp_min(1e-6)
        prior = weight / weight.sum()
        rate = ((share.T @ images.train) / weight[:, None] / TRIALS).clamp(0.01, 0.99)
    return scores(images.test).argmax(1)
