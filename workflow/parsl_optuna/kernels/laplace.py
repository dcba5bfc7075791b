"""Draws of the normal approximation at a minimum, N(w*, (t H + gamma)^-1) (Laplace; MacKay 1992).

With the whole Hessian, or without it: Lanczos' method turns a standard normal z into (t H + gamma)^(-1/2) z
and gives Gauss quadratures of traces along the way (Golub & Meurant 2010; Ubaru, Chen & Saad 2017; square
roots: Chow & Saad 2014). Negative curvatures, which a stationary point that is no minimum has, count as 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.core.clock import Expired
from parsl_optuna.kernels.batch import normal_like
from parsl_optuna.kernels.chain import Expiring
from parsl_optuna.kernels.device import precise

MOST_STEPS = 256
"""Of Lanczos' method: a share of sqrt(condition) would do, and every vector is kept."""

_LOOK, _SETTLED = 8, 1e-4
"""Steps between looks at the quadrature, and its relative change at which it has settled."""

_BLOCK = 32
"""Vectors that are kept in one tensor: products with many at once are what processors are fast at."""

PER_PRIOR = 8
"""Draws of which one is from the prior: few enough to cost an eighth, and enough to see what is there."""

_ENERGY = 0.5
"""Error of a draw's energy, in the median, up to which weights mean something: it is a factor on each."""


class Posterior(NamedTuple):
    """What is approximated.

    Attributes:
        products: ``(n, dim) -> (n, dim)``, products with the Hessian H of the loss.
        t: Factor on the loss.
        gamma: Precision of the localization prior.
    """

    products: Callable[[Tensor], Tensor]
    t: float
    gamma: float

    def stiffness(self, eigenvalues: Tensor) -> Tensor:
        """Return t times eigenvalues of H, negative ones as 0."""
        return self.t * eigenvalues.clamp(min=0.0)


class Drawn(NamedTuple):
    """Draws, each ``(n,)`` but for the first.

    Attributes:
        shift: w - w*, ``(n, dim)``.
        energy: Minus the logarithm of the density, up to a constant of all draws.
        llc: 1/2 tr[t H (t H + gamma)^-1], the LLC of the approximation; estimates without the whole H.
        log_volume: 1/2 ln det(1 + t H / gamma), likewise.
        is_local: Whether it is of the approximation, rather than of the localization prior.
        is_settled: Whether more steps of Lanczos' method would not change them, and energies are right.
        is_cut: Whether the deadline ended these steps before.
    """

    shift: Tensor
    energy: Tensor
    llc: Tensor
    log_volume: Tensor
    is_local: Tensor
    is_settled: bool = True
    is_cut: bool = False


class Whole(NamedTuple):
    """The approximation by eigenvalues t h ``(dim,)`` and eigenvectors ``(dim, dim)``."""

    stiffness: Tensor
    basis: Tensor
    gamma: float

    def draw(self, n: int, generator: Generator) -> Drawn:
        """Draw independently, one in eight from the localization prior.

        Without these, parts of the posterior away from w* would neither be seen nor missed: weights of draws
        that are all near w* may be as even as can be. Both kinds count as draws of the mixture (defensive
        importance sampling: Hesterberg 1995).
        """
        z = normal_like(self.basis.new_empty(n, len(self.stiffness)), generator)
        is_local = torch.arange(n, device=z.device) >= n // PER_PRIOR
        precision = torch.where(is_local.unsqueeze(1), self.stiffness + self.gamma, self.gamma)
        along = z * precision.rsqrt()
        volume = 0.5 * torch.log1p(self.stiffness / self.gamma).sum()
        near = volume - 0.5 * ((self.stiffness + self.gamma) * along.square()).sum(1)
        prior = -0.5 * self.gamma * along.square().sum(1)
        share = is_local.to(z).mean()
        energy = -torch.logaddexp(near + share.log(), prior + (1.0 - share).log())
        llc = 0.5 * (self.stiffness / (self.stiffness + self.gamma)).sum()
        return Drawn(along @ self.basis.T, energy, llc.expand(n), volume.expand(n), is_local)


def whole(posterior: Posterior, like: Tensor) -> Whole:
    """Form the Hessian: *like* is ``(dim,)``."""
    full = precise(posterior.products(torch.diag(torch.ones_like(like))))
    eigenvalues, basis = torch.linalg.eigh(0.5 * (full + full.T))
    return Whole(posterior.stiffness(eigenvalues).to(like), basis.to(like), posterior.gamma)


def krylov(
    posterior: Posterior, n: int, like: Tensor, generator: Generator, deadline: Expiring
) -> Drawn | None:
    """Draw without forming the Hessian: two gradients per draw and step, a few dozen steps.

    Args:
        posterior: What is approximated.
        n: Number of draws.
        like: A tensor ``(dim,)``.
        generator: Source of randomness.
        deadline: When it expires, or products raise `Expired`, the steps so far must do; None after fewer
            than `_LOOK`.
    """
    z = normal_like(like.expand(n, -1), generator)
    length = z.norm(dim=1)
    lanczos = _Lanczos(posterior.products, z / length.unsqueeze(1))
    found, is_settled, is_cut = None, False, False
    while not is_settled and len(lanczos.diagonal) < min(MOST_STEPS, len(like)):
        try:
            is_cut = deadline.expired
            if not is_cut:
                lanczos.step()
        except Expired:
            is_cut = True
        if is_cut:
            break
        if len(lanczos.diagonal) % _LOOK == 0 or lanczos.is_exhausted:
            before, found = found, _quadrature(posterior, lanczos)
            is_settled = lanczos.is_exhausted or (before is not None and found.is_near(before))
    if found is None:
        return None
    shift = length.unsqueeze(1) * lanczos.combined(found.weights)
    dim, energy = len(like), 0.5 * length.square()
    seen = 0.5 * ((posterior.t * posterior.products(shift) + posterior.gamma * shift) * shift).sum(1)
    is_settled &= bool((seen - energy).abs().median() <= _ENERGY)  # products may be too coarse
    is_local = torch.ones_like(energy) > 0
    return Drawn(shift, energy, dim * found.llc, dim * found.log_volume, is_local, is_settled, is_cut)


class _Lanczos:
    """Lanczos' method from unit vectors ``(n, dim)``, each with its own sequence.

    Attributes:
        diagonal: Of the tridiagonal matrices, ``(n,)`` per step.
        beside: Beside it.
        is_exhausted: Whether the vectors so far span all that further products could add.
    """

    def __init__(self, products: Callable[[Tensor], Tensor], start: Tensor) -> None:
        self._products, self._last = products, start
        self._blocks: list[Tensor] = []
        self.diagonal: list[Tensor] = []
        self.beside: list[Tensor] = []
        self.is_exhausted = False

    def step(self) -> None:
        """Take one product, and find the next vectors."""
        at = len(self.diagonal) % _BLOCK
        if not at:
            self._blocks.append(self._last.new_zeros(len(self._last), _BLOCK, self._last.shape[1]))
        self._blocks[-1][:, at] = self._last
        product = self._products(self._last)
        self.diagonal.append((self._last * product).sum(1))
        vectors = self._orthogonal(self._orthogonal(product))  # once is too little in float32
        norm = vectors.norm(dim=1)
        rounding = torch.finfo(norm.dtype).eps ** (2.0 / 3.0)  # of central differences, relative
        is_left = norm > rounding * torch.stack([*self.diagonal, *self.beside]).abs().amax(0)
        self.beside.append(torch.where(is_left, norm, 0.0))
        self._last = torch.where(is_left, 1.0 / norm, 0.0).unsqueeze(1) * vectors
        self.is_exhausted = not bool(is_left.any()) or len(self.diagonal) == vectors.shape[1]

    def combined(self, weights: Tensor) -> Tensor:
        """Return sums ``(n, dim)`` of the first vectors, by weights ``(n, k)``."""
        parts = zip(weights.split(_BLOCK, dim=1), self._blocks, strict=False)
        return sum(
            (torch.einsum("nk,nkd->nd", part, block[:, : part.shape[1]]) for part, block in parts),
            start=torch.zeros_like(self._last),
        )

    def _orthogonal(self, vectors: Tensor) -> Tensor:
        for block in self._blocks:
            along = torch.einsum("nkd,nd->nk", block, vectors)
            vectors = vectors - torch.einsum("nk,nkd->nd", along, block)
        return vectors


class _Quadrature(NamedTuple):
    """Of one vector: shares of the dimension, and the weights ``(n, k)`` of its draw on Lanczos vectors."""

    llc: Tensor
    log_volume: Tensor
    weights: Tensor

    def is_near(self, other: _Quadrature) -> bool:
        """Whether both traces have settled."""
        pairs = ((self.llc, other.llc), (self.log_volume, other.log_volume))
        return all(bool(((a - b).abs() <= _SETTLED * a.abs()).all()) for a, b in pairs)


def _quadrature(posterior: Posterior, lanczos: _Lanczos) -> _Quadrature:
    """Evaluate functions of H by the tridiagonal matrices so far."""
    like = lanczos.diagonal[0]
    main = precise(torch.stack(lanczos.diagonal, dim=1))
    beside = precise(torch.stack(lanczos.beside, dim=1))[:, :-1]
    matrix = torch.diag_embed(main) + torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    stiffness, first = posterior.stiffness(eigenvalues), vectors[:, 0]
    mass = first.square()
    llc = 0.5 * (mass * stiffness / (stiffness + posterior.gamma)).sum(1)
    volume = 0.5 * (mass * torch.log1p(stiffness / posterior.gamma)).sum(1)
    weights = torch.einsum("nij,nj->ni", vectors, (stiffness + posterior.gamma).rsqrt() * first)
    return _Quadrature(*(value.to(like) for value in (llc, volume, weights)))
