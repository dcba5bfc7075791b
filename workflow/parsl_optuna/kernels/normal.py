"""Normal laws around a point, of known evidence: where bridges of `kernels.smc` begin."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.kernels.batch import normal_like


class Normal(NamedTuple):
    """N(w*, (M + gamma)^-1): the localization prior where M is 0.

    Attributes:
        centre: w*, ``(dim,)``.
        stiffness: Eigenvalues of M, ``(dim,)``.
        basis: Its eigenvectors ``(dim, dim)``; ``(dim, 0)`` where M is diagonal.
        gamma: Precision of the prior.
    """

    centre: Tensor
    stiffness: Tensor
    basis: Tensor
    gamma: float

    @property
    def log_evidence(self) -> float:
        """The logarithm of the integral of exp(-R), less that of the prior."""
        return -0.5 * float(torch.log1p(self.stiffness / self.gamma).sum())

    def draws(self, n: int, generator: Generator) -> Tensor:
        """Draw positions ``(n, dim)``."""
        along = normal_like(self.centre.expand(n, -1), generator) * (self.stiffness + self.gamma).rsqrt()
        return self.centre + (along @ self.basis.T if self.basis.shape[1] else along)

    def energy(self, w: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return R = (w - w*)' (M + gamma) (w - w*) / 2 and its gradient."""
        del generator
        shift = w - self.centre
        gradient = self.gamma * shift + self._curved(shift)
        return 0.5 * (shift * gradient).sum(1), gradient

    def local(self, w: Tensor) -> Tensor:
        """Return (w - w*)' M (w - w*) / 2, ``(n,)``."""
        shift = w - self.centre
        return 0.5 * (shift * self._curved(shift)).sum(1)

    def _curved(self, shift: Tensor) -> Tensor:
        if self.basis.shape[1]:
            return ((shift @ self.basis) * self.stiffness) @ self.basis.T
        return self.stiffness * shift


def prior(centre: Tensor, gamma: float) -> Normal:
    """Return the localization prior."""
    return Normal(centre, torch.zeros_like(centre), centre.new_zeros(len(centre), 0), gamma)
