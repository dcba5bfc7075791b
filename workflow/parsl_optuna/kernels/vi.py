"""Variational inference with a mixture of factor analysers, several independent fits as one batch.

q(w) = sum_m pi_m N(centre + S mu_m, S D_m^1/2 (I + A_m A_m') D_m^1/2 S), S a diagonal whitening.
Factor analysers: Ghahramani & Hinton (1996). Path gradient: Roeder, Wu, Duvenaud (2017),
"Sticking the landing", arXiv:1703.09194.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.kernels.types import Approximation, Info, Potential

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
"""Of Adam: Kingma & Ba (2015), arXiv:1412.6980."""

_WARM_UP_FRACTION = 0.05
"""Share of the steps over which the learning rate rises: Adam's second moment settles in 1 / (1 - 0.999)
steps.
"""

_FACTOR_SD = 0.05
"""Standard deviation of the first factors, beside D of 1: small, and not zero, where their gradient is
zero.
"""

_LOG_SCALES = 0.5
"""Largest difference of a component's first log standard deviation from the given one: factors 0.6 to 1.6."""


@dataclass(frozen=True)
class Params:
    """Settings of the fits.

    Args:
        lr: Peak learning rate of Adam; warmed up over 5 % of the steps, then cosine to zero.
        n_steps: Steps the schedule is made for.
        components: M, mixture components.
        rank: r, factors per component.
        own_diagonal: Whether each component has its own D or all share one.
        centre: ``(dim,)``.
        whitening: ``(dim,)`` scales S of the coordinates in which q is parametrised.
        initial_sd: ``(dim,)`` standard deviations of q at the start, in model coordinates.
    """

    lr: float
    n_steps: int
    components: int
    rank: int
    own_diagonal: bool
    centre: Tensor
    whitening: Tensor
    initial_sd: Tensor


class Mixture(NamedTuple):
    """Parameters of q, F fits at once, in whitened coordinates.

    Attributes:
        mean: ``(F, M, dim)``.
        log_sd: ``(F, M or 1, dim)``, half the logarithm of D.
        factor: ``(F, M, dim, r)``.
        logits: ``(F, M)``.
    """

    mean: Tensor
    log_sd: Tensor
    factor: Tensor
    logits: Tensor


class State(NamedTuple):
    """The mixture, Adam's moments and the last step's ELBO ``(fits,)`` (up to log Z)."""

    mixture: Mixture
    first: Mixture
    second: Mixture
    elbo: Tensor
    time: int


def build(potential: Potential, params: Params) -> Approximation[State]:
    """Return the approximation with density and settings bound."""
    return Approximation(
        partial(init, params=params),
        partial(step, potential=potential, params=params),
        partial(sample, params=params),
    )


def init(position: Tensor, generator: Generator, *, params: Params) -> State:
    """Start one fit per row of *position*, at the centre with small random factors."""
    fits, dim = position.shape
    like = {"dtype": position.dtype, "device": position.device}
    shape = (fits, params.components, dim, params.rank)
    mixture = Mixture(
        torch.zeros(shape[:3], **like),
        _spread_out(params).expand(fits, -1, -1).clone(),
        _FACTOR_SD * torch.randn(shape, generator=generator, **like),
        torch.zeros(shape[:2], **like),
    )
    zeros = Mixture(*(torch.zeros_like(leaf) for leaf in mixture))
    return State(mixture, zeros, zeros, torch.full((fits,), math.nan, **like), 0)


def step(state: State, generator: Generator, *, potential: Potential, params: Params) -> tuple[State, Info]:
    """Take one Adam step on the negative ELBO, one sample per component (stratified).

    ELBO = E_q[-U] - E_q[log q]. The parameters inside log q are held constant (their score has
    zero expectation), which leaves the path gradient, exact once q equals the target.
    """
    leaves = Mixture(*(leaf.detach().requires_grad_() for leaf in state.mixture))
    position = _one_per_component(leaves, generator, params)
    fits, components, dim = position.shape
    energy, gradient = potential(position.detach().reshape(-1, dim), generator)
    energy, gradient = energy.reshape(fits, components), gradient.reshape(position.shape)
    log_q = log_density(Mixture(*(leaf.detach() for leaf in leaves)), position, params)
    weight = leaves.logits.softmax(-1)
    path = (weight.detach() * ((gradient * position).sum(-1) + log_q)).sum()
    cost = (energy + log_q).detach()
    loss = path + (weight * cost).sum()
    grads = Mixture(*torch.autograd.grad(loss, list(leaves)))
    new = _adam(state, _finite(grads), params)
    elbo = -(weight.detach() * cost).sum(-1)
    finite = torch.isfinite(elbo)
    ones = torch.ones_like(elbo)
    return new._replace(elbo=elbo), Info(ones, 0.0 * ones, ~finite, components)


def sample(state: State, generator: Generator, n: int, *, params: Params) -> Tensor:
    """Draw ``(fits, n, dim)`` independent positions from the fits."""
    mixture = state.mixture
    fits, _, dim, rank = mixture.factor.shape
    like = {"dtype": mixture.mean.dtype, "device": mixture.mean.device}
    weight = mixture.logits.softmax(-1)
    chosen = torch.multinomial(weight, n, replacement=True, generator=generator)
    row = torch.arange(fits, device=chosen.device).unsqueeze(1)
    z = torch.randn(fits, n, rank, generator=generator, **like)
    e = torch.randn(fits, n, dim, generator=generator, **like)
    noise = torch.einsum("fndr,fnr->fnd", mixture.factor[row, chosen], z) + e
    sd = mixture.log_sd.expand_as(mixture.mean)[row, chosen].exp()
    return params.centre + params.whitening * (mixture.mean[row, chosen] + sd * noise)


def log_density(mixture: Mixture, position: Tensor, params: Params) -> Tensor:
    """Return log q ``(fits, n)`` at positions ``(fits, n, dim)``, by Woodbury in O(dim r)."""
    sd = mixture.log_sd.exp()
    v = (position - params.centre) / params.whitening
    y = (v.unsqueeze(2) - mixture.mean.unsqueeze(1)) / sd.unsqueeze(1)
    rank = mixture.factor.shape[-1]
    gram = torch.einsum("fmdr,fmds->fmrs", mixture.factor, mixture.factor)
    cholesky = torch.linalg.cholesky(gram + torch.eye(rank, dtype=gram.dtype, device=gram.device))
    projected = torch.einsum("fmdr,fnmd->fmrn", mixture.factor, y)
    solved = torch.linalg.solve_triangular(cholesky, projected, upper=False)
    quadratic = y.square().sum(-1) - solved.square().sum(2).transpose(1, 2)
    log_det = 2.0 * mixture.log_sd.sum(-1) + 2.0 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    dim = position.shape[-1]
    constant = dim * math.log(2.0 * math.pi) + 2.0 * params.whitening.log().sum()
    log_weight = mixture.logits.log_softmax(-1)
    component = log_weight.unsqueeze(1) - 0.5 * (quadratic + log_det.unsqueeze(1) + constant)
    return component.logsumexp(-1)


def quadratic_mean(state: State, params: Params, hvp: Callable[[Tensor], Tensor], diagonal: Tensor) -> Tensor:
    """Return E_q[(w - centre)' H (w - centre)] ``(fits,)``, the full trace included.

    Equals sum_m pi_m [m' H m + sum_j a_j' H a_j + sum_i H_ii S_i^2 D_i] with m = S mu_m and
    a_j = S D^1/2 A_m[:, j].

    Args:
        state: The fits.
        params: Their settings.
        hvp: ``(n, dim) -> (n, dim)``, products with H.
        diagonal: ``(dim,)``, the exact diagonal of H.
    """
    mixture = state.mixture
    fits, components, dim, rank = mixture.factor.shape
    scaled_sd = params.whitening * mixture.log_sd.exp().expand_as(mixture.mean)
    columns = (scaled_sd.unsqueeze(-1) * mixture.factor).transpose(2, 3)
    means = (params.whitening * mixture.mean).unsqueeze(2)
    directions = torch.cat([means, columns], dim=2).reshape(-1, dim)
    curvature = (directions * hvp(directions)).sum(-1).reshape(fits, components, rank + 1).sum(-1)
    curvature = curvature + (scaled_sd.square() * diagonal).sum(-1)
    return (mixture.logits.softmax(-1) * curvature).sum(-1)


def _spread_out(params: Params) -> Tensor:
    """Return initial log D^1/2 ``(M or 1, dim)``; unequal scales break the components' symmetry."""
    log_sd = (params.initial_sd / params.whitening).log()
    if not params.own_diagonal:
        return log_sd.unsqueeze(0)
    spread = torch.linspace(
        -_LOG_SCALES, _LOG_SCALES, params.components, dtype=log_sd.dtype, device=log_sd.device
    )
    return log_sd + spread.unsqueeze(1)


def _one_per_component(mixture: Mixture, generator: Generator, params: Params) -> Tensor:
    fits, components, dim, rank = mixture.factor.shape
    like = {"dtype": mixture.mean.dtype, "device": mixture.mean.device}
    z = torch.randn(fits, components, rank, generator=generator, **like)
    e = torch.randn(fits, components, dim, generator=generator, **like)
    noise = torch.einsum("fmdr,fmr->fmd", mixture.factor, z) + e
    return params.centre + params.whitening * (mixture.mean + mixture.log_sd.exp() * noise)


def _finite(grads: Mixture) -> Mixture:
    """Drop non-finite entries.

    Gradients are not clipped: they are heavy-tailed, and clipping the tail that narrows q would leave
    it too wide. Adam bounds the length of a step anyway.
    """
    return Mixture(*(torch.nan_to_num(leaf, 0.0, 0.0, 0.0) for leaf in grads))


def _adam(state: State, grads: Mixture, params: Params) -> State:
    time = state.time + 1
    lr = params.lr * _schedule(time, params.n_steps)
    first = Mixture(*(_BETA1 * m + (1 - _BETA1) * g for m, g in zip(state.first, grads, strict=True)))
    second = Mixture(*(_BETA2 * v + (1 - _BETA2) * g * g for v, g in zip(state.second, grads, strict=True)))
    moved = Mixture(
        *(
            p - lr * (m / (1 - _BETA1**time)) / ((v / (1 - _BETA2**time)).sqrt() + _EPSILON)
            for p, m, v in zip(state.mixture, first, second, strict=True)
        )
    )
    return State(moved, first, second, state.elbo, time)


def _schedule(time: int, n_steps: int) -> float:
    warm = max(1.0, _WARM_UP_FRACTION * n_steps)
    if time < warm:
        return time / warm
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (time - warm) / max(n_steps - warm, 1.0))))
