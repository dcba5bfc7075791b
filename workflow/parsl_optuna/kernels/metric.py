"""An affine change of coordinates that makes a posterior rounder: a diagonal scale and low-rank components.

Positions and gradients both show the scales: Cov(w) the wide ones, E[grad U grad U'] = E[Hess U] (integration
by parts, exact for any target) the stiff ones. For a normal posterior either would do. The geometric mean of
the first and the inverse of the second minimises the Fisher divergence to a standard normal (Seyboldt,
Carlson & Carpenter 2026, arXiv:2603.18845).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.kernels.device import precise
from parsl_optuna.kernels.types import Potential

_ENOUGH = 4
"""Draws per dimension from which on every direction is fitted."""

_LARGEST = 1000
"""Most dimensions for a full basis, and most draws that a fit looks at."""

_PRIOR_DRAWS = 5.0
"""Weight of the prior scale, in draws: Stan's for variances."""

_RANGE = 1e4
"""Largest factor between a scale and the one before: one window cannot know more."""


class Metric(NamedTuple):
    """w = centre + S z with S = diag(sd) (I + Q diag(stretch - 1) Q').

    Attributes:
        centre: ``(dim,)``.
        sd: ``(dim,)``.
        basis: Q, ``(dim, k)``, orthonormal.
        stretch: ``(k,)``.
    """

    centre: Tensor
    sd: Tensor
    basis: Tensor
    stretch: Tensor

    def position(self, z: Tensor) -> Tensor:
        """Return w ``(chains, dim)``."""
        return torch.addcmul(self.centre, self._along(z, self.stretch), self.sd)

    def coordinates(self, w: Tensor) -> Tensor:
        """Return z ``(chains, dim)``, the inverse of `position`."""
        return self._along((w - self.centre) / self.sd, 1.0 / self.stretch)

    def pulled(self, gradient: Tensor) -> Tensor:
        """Return the gradient with respect to z from the one with respect to w."""
        return self._along(gradient * self.sd, self.stretch)

    def pushed(self, gradient: Tensor) -> Tensor:
        """Return the gradient with respect to w from the one with respect to z."""
        return self._along(gradient, 1.0 / self.stretch) / self.sd

    def plain(self) -> Metric:
        """Return the scales alone."""
        return self._replace(basis=self.basis[:, :0], stretch=self.stretch[:0])

    def potential(self, potential: Potential) -> Potential:
        """Return U as a function of z."""

        def energy(z: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
            value, gradient = potential(self.position(z), generator)
            return value, self.pulled(gradient)

        return energy

    def _along(self, vectors: Tensor, factors: Tensor) -> Tensor:
        if not len(factors):
            return vectors
        return vectors + ((vectors @ self.basis) * (factors - 1.0)) @ self.basis.T


def isotropic(centre: Tensor, sd: float) -> Metric:
    """Return the metric of a round posterior."""
    return Metric(centre, torch.full_like(centre, sd), centre.new_zeros(len(centre), 0), centre.new_zeros(0))


def fit(positions: Tensor, gradients: Tensor, prior: Metric) -> Metric:
    """Return a metric from draws.

    Args:
        positions: ``(draws, dim)``.
        gradients: ``(draws, dim)`` of U there.
        prior: What scales are shrunk to when draws are few; also gives the centre.
    """
    if len(positions) > _LARGEST:
        chosen = torch.linspace(0, len(positions) - 1, _LARGEST, device=positions.device).long()
        positions, gradients = positions[chosen], gradients[chosen]
    draws = len(positions)
    wide, stiff = positions.var(0), gradients.square().mean(0)
    weight = draws / (draws + _PRIOR_DRAWS)
    sd = _bounded((wide / stiff).pow(0.25), prior.sd)
    sd = torch.exp(weight * sd.log() + (1 - weight) * prior.sd.log())
    eigenvalues, basis = _stiff_directions(gradients * sd)
    if not len(eigenvalues):
        return Metric(prior.centre, sd, basis, eigenvalues)
    spread = (((positions - positions.mean(0)) / sd) @ basis).var(0)
    stretch = _bounded((spread / eigenvalues).pow(0.25), torch.ones_like(eigenvalues))
    return Metric(prior.centre, sd, basis, stretch)


def _stiff_directions(gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues ``(k,)`` and eigenvectors ``(dim, k)`` of the gradients' second moment.

    All of them where draws abound; else those above the largest that pure noise would give,
    (1 + sqrt(dim / draws))^2 (Marchenko & Pastur 1967), found through the Gram matrix of the draws.
    """
    draws, dim = gradients.shape
    scaled = precise(gradients) / math.sqrt(draws)
    if draws >= _ENOUGH * dim and dim <= _LARGEST:
        eigenvalues, basis = torch.linalg.eigh(scaled.T @ scaled)
    else:
        eigenvalues, weights = torch.linalg.eigh(scaled @ scaled.T)
        level = float(scaled.square().sum()) / dim
        kept = eigenvalues > level * (1.0 + math.sqrt(dim / draws)) ** 2
        eigenvalues, weights = eigenvalues[kept], weights[:, kept]
        basis = scaled.T @ weights / eigenvalues.sqrt()
    # Rows in memory one after the other, as they will lie when they have been kept and read back.
    return eigenvalues.to(gradients), basis.to(gradients).contiguous()


def _bounded(scales: Tensor, otherwise: Tensor) -> Tensor:
    """Replace scales that are not positive numbers, and keep the rest within a wide range of these."""
    usable = torch.isfinite(scales) & (scales > 0)
    return torch.where(usable, scales, otherwise).clamp(min=otherwise / _RANGE, max=otherwise * _RANGE)
