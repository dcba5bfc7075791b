"""The mixture: p(k) p(y | k) p(x | y, k), and a posterior that is exact where the likelihood is conjugated.

Pixels x are binomial with logits ``b + c_k + (W + W_k) y``; y are binary; k is a cluster, offsets of the
first one being zero. psi(eta) = N sum softplus(eta) is the log-partition of the pixels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import softplus

from parsl_optuna.tasks.varmix.images import TRIALS


class Posterior(NamedTuple):
    """The posterior of a batch.

    Attributes:
        drive: ``(batch, clusters, latent)``: x^T (W + W_k).
        logits: ``(batch, clusters, latent)`` of y given x and k.
        log_q: ``(batch, clusters)`` of k given x.
    """

    drive: Tensor
    logits: Tensor
    log_q: Tensor


class Mixture(nn.Module):
    """Parameters and densities.

    Args:
        mean: ``(pixels,)`` of the training images; the model lives on its device.
        n_latent: Binary units.
        n_clusters: Clusters.
        full: Whether clusters have weights of their own.
        stream: Of the initial values, on that device.
    """

    def __init__(
        self, mean: Tensor, n_latent: int, n_clusters: int, *, full: bool, stream: Generator
    ) -> None:
        super().__init__()
        pixels, device = len(mean), mean.device

        def noise(*shape: int, std: float) -> nn.Parameter:
            return nn.Parameter(std * torch.randn(*shape, generator=stream, device=device))

        rate = (0.99 * mean / TRIALS + 0.005).clamp(1e-6, 1 - 1e-6)
        self.rho = nn.Parameter(torch.zeros(n_latent, device=device))
        self.b = nn.Parameter(rate.logit() + 0.1 * torch.randn(pixels, generator=stream, device=device))
        self.w = noise(pixels, n_latent, std=0.1 / math.sqrt(pixels * n_latent * n_clusters))
        others = n_clusters - 1 if full else 0
        self.w_k = noise(others, pixels, n_latent, std=0.1 / math.sqrt(pixels * n_latent))
        self.c_k = noise(others, pixels, std=0.1 / math.sqrt(pixels))
        self.a = noise(n_latent, std=0.1)
        self.a_k = noise(n_clusters - 1, n_latent, std=0.5)
        self.t_k = noise(n_clusters - 1, std=0.1)
        self.n_clusters = n_clusters

    @property
    def weights(self) -> Tensor:
        """Return W + W_k ``(clusters, pixels, latent)``."""
        return self.w + self._whole(self.w_k)

    @property
    def biases(self) -> Tensor:
        """Return b + c_k ``(clusters, pixels)``."""
        return self.b + self._whole(self.c_k)

    @property
    def latent_logits(self) -> Tensor:
        """Return the logits of y given k in the prior, ``(clusters, latent)``."""
        return self.a + torch.cat([torch.zeros_like(self.a_k[:1]), self.a_k])

    @property
    def log_prior(self) -> Tensor:
        """Return log p(k) ``(clusters,)``."""
        bias = torch.cat([torch.zeros_like(self.t_k[:1]), self.t_k])
        return (bias + softplus(self.latent_logits).sum(-1)).log_softmax(-1)

    def _whole(self, offsets: Tensor) -> Tensor:
        """Return the offsets of all clusters, the first one's zero."""
        first = offsets.new_zeros(1, *offsets.shape[1:])
        if len(offsets) == 0:
            return first.expand(self.n_clusters, *offsets.shape[1:])
        return torch.cat([first, offsets])

    def posterior(self, x: Tensor, rho: Tensor | None = None) -> Posterior:
        """Return q(y, k | x) for counts ``(batch, pixels)``; *rho* in place of the learned one."""
        rho = self.rho if rho is None else rho
        drive = torch.einsum("bd,kdl->bkl", x, self.weights)
        logits = drive + self.latent_logits - rho
        bias = torch.cat([torch.zeros_like(self.t_k[:1]), self.t_k])
        scores = bias + x @ self._whole(self.c_k).T + softplus(logits).sum(-1)
        return Posterior(drive, logits, scores.log_softmax(-1))

    def psi(self, y: Tensor, k: Tensor) -> Tensor:
        """Return the log-partition of the pixels ``(n,)`` for y ``(n, latent)`` and k ``(n,)``.

        Draws are taken cluster by cluster: the weights of its cluster, gathered for every draw, would take
        2 GB at 512 images with ten draws each.
        """
        order = k.argsort(stable=True)
        parts = y[order].split(torch.bincount(k, minlength=self.n_clusters).tolist())
        groups = zip(parts, self.weights, self.biases, strict=True)
        found = [
            softplus(torch.addmm(bias, part, weight.T)).sum(-1) for part, weight, bias in groups if len(part)
        ]
        return TRIALS * torch.cat(found)[order.argsort()]

    @torch.no_grad()
    def prior_samples(self, n: int, stream: Generator) -> tuple[Tensor, Tensor]:
        """Return y ``(n, latent)`` and k ``(n,)`` drawn from the prior."""
        k = torch.multinomial(self.log_prior.exp(), n, replacement=True, generator=stream)
        chance = self.latent_logits[k].sigmoid()
        return (torch.rand(chance.shape, generator=stream, device=chance.device) < chance).float(), k


def kl(model: Mixture, posterior: Posterior) -> Tensor:
    """Return KL(q(y, k | x) || p(y, k)) ``(batch,)``, in closed form."""
    logits, log_q = posterior.logits, posterior.log_q
    prior = model.latent_logits
    units = logits.sigmoid() * (logits - prior) - softplus(logits) + softplus(prior)
    return (log_q.exp() * (log_q - model.log_prior + units.sum(-1))).sum(-1)


def linear_term(model: Mixture, x: Tensor, posterior: Posterior) -> Tensor:
    """Return E_q[x . eta] + log base measure ``(batch,)``, in closed form."""
    energy = x @ model.biases.T + (posterior.drive * posterior.logits.sigmoid()).sum(-1)
    base = torch.lgamma(x.new_tensor(TRIALS + 1.0)) - torch.lgamma(x + 1) - torch.lgamma(TRIALS - x + 1)
    return (posterior.log_q.exp() * energy).sum(-1) + base.sum(-1)


def sampled_psi(
    model: Mixture, posterior: Posterior, samples: int, stream: Generator
) -> tuple[Tensor, Tensor]:
    """Return psi ``(batch, samples)`` at draws from q, and log q of those draws.

    The draws are constants; gradients through q come from the score function, `score_term`.
    """
    batch, _, latent = posterior.logits.shape
    with torch.no_grad():
        k = torch.multinomial(posterior.log_q.exp(), samples, replacement=True, generator=stream)
        index = k[:, :, None].expand(-1, -1, latent)
        chance = posterior.logits.gather(1, index).sigmoid()
        y = (torch.rand(chance.shape, generator=stream, device=chance.device) < chance).float()
    logits = posterior.logits.gather(1, index)
    log_q = posterior.log_q.gather(1, k) + (y * logits - softplus(logits)).sum(-1)
    psi = model.psi(y.reshape(batch * samples, latent), k.reshape(-1)).view(batch, samples)
    return psi, log_q


def score_term(psi: Tensor, log_q: Tensor) -> Tensor:
    """Return ``(batch,)`` a term whose gradient is that of -E_q[psi] through q.

    The baseline of each draw is the mean of the others: with its own among them it would be biased by
    (S - 1) / S.
    """
    samples = psi.shape[1]
    fixed = psi.detach()
    others = (fixed.sum(1, keepdim=True) - fixed) / (samples - 1)
    return -((fixed - others) * log_q).mean(1)


def penalty(model: Mixture, rho: Tensor, y: Tensor, k: Tensor) -> Tensor:
    """Return Var[rho . y - psi(eta(y, k))] over prior draws: zero where the likelihood is conjugated."""
    return (y @ rho - model.psi(y, k)).var(correction=0)


def least_squares_rho(model: Mixture, y: Tensor, k: Tensor) -> Tensor:
    """Return the rho ``(latent,)`` that fits psi best over prior draws, with an intercept."""
    psi = model.psi(y, k)
    centred = y - y.mean(0)
    gram = centred.T @ centred + 1e-4 * len(y) * torch.eye(y.shape[1], device=y.device)
    return torch.linalg.solve(gram, centred.T @ (psi - psi.mean()))
