"""The quantity that every method estimates, defined once: loss scale, temperature, localiser.

pi(w) ~ exp(-U(w)), U = t L_n(w) + gamma/2 |w - w*|^2, t = n beta; LLC = t (E_pi[L_n] - L0).
Lau, Furman, Wang, Murfet, Wei (2023), arXiv:2308.12108.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.linalg import vecdot

from parsl_optuna.kernels.batch import normal_like
from parsl_optuna.kernels.types import Potential
from parsl_optuna.tasks.llc.problem.curvature import hvp
from parsl_optuna.tasks.llc.problem.recorded import NOTHING, Recording
from parsl_optuna.tasks.llc.problem.target import Target

_FORWARD_SHARE = 1.0 / 3.0
"""A loss without its gradient costs about a third of one with it (one pass of three)."""


class Estimand:
    """Energies of a target and a meter of the work spent on it.

    Args:
        target: The shared target.
        recording: What else to record of draws.

    Attributes:
        t: n beta.
        beta: Inverse temperature.
        gamma: Precision of the localiser.
        work: Gradient evaluations x examples so far, summed over chains.
    """

    def __init__(self, target: Target, recording: Recording = NOTHING) -> None:
        self.target, self.recording = target, recording
        self.dim, self.n = target.loss.dim, target.loss.n_examples
        posterior = target.posterior
        self.beta, self.gamma = posterior.beta(self.n), posterior.localiser(self.dim)
        self.t = self.n * self.beta
        self.L0 = target.summary.L0
        self.centre = target.centre
        self.work = 0.0

    def energy(self, w: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return U ``(chains,)`` and its gradient on all data."""
        del generator
        loss, gradient = self._measured(w, None)
        return self._localised(w, loss, gradient, self.t)

    def tempered(self, t: float, rows: Tensor | None = None) -> Potential:
        """Return U with the factor *t* on the loss, of all data or of the examples *rows* ``(batch,)``."""

        def energy(w: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
            del generator
            return self._localised(w, *self._measured(w, rows), t)

        return energy

    def parts(self, count: int, generator: Generator) -> list[Potential]:
        """Return U on each of *count* random parts of the data, whose mean is U on all of it."""
        split = self.drawn(self.n, generator).tensor_split(count)
        return [self.tempered(self.t * count * len(rows) / self.n, rows) for rows in split]

    def stochastic_energy(self, batch: int) -> Potential:
        """Return U with the loss on *batch* examples, drawn afresh per call and chain."""
        if not self.target.loss.has_data or batch >= self.n:
            return self.energy

        def energy(w: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
            return self._localised(w, *self._measured(w, self._rows(w, batch, generator)), self.t)

        return energy

    def stochastic_loss(self, batch: int) -> Potential:
        """Return the loss part t L alone, on minibatches as in `stochastic_energy`."""
        whole = not self.target.loss.has_data or batch >= self.n

        def loss(w: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
            rows = None if whole else self._rows(w, batch, generator)
            value, gradient = self._measured(w, rows)
            return self.t * value, self.t * gradient

        return loss

    def excess(self, w: Tensor) -> Tensor:
        """Return t (L_n(w) - L0) ``(chains,)`` on all data."""
        self.work += _FORWARD_SHARE * len(w) * self.n
        return self.t * (self.target.loss.value(w) - self.L0)

    def excess_from(self, energy: Tensor, radius: Tensor) -> Tensor:
        """Return t (L_n(w) - L0) from U(w) and the localiser's share, at no cost."""
        return energy - radius - self.t * self.L0

    def radius(self, w: Tensor) -> Tensor:
        """Return gamma/2 |w - w*|^2 ``(chains,)``."""
        return 0.5 * self.gamma * (w - self.centre).square().sum(-1)

    def loss_hvp(self, directions: Tensor) -> Tensor:
        """Return products ``(n, dim)`` with the Hessian of the loss at w*."""
        self.work += 2 * len(directions) * self.n
        return hvp(self.target.loss, self.centre, directions)

    def start_variances(self) -> Tensor:
        """Return 1 / (t h_ii + gamma) ``(dim,)``, the posterior variances near w*."""
        return 1.0 / (self.t * self.target.diagonal.clamp(min=0.0) + self.gamma)

    def starts(self, chains: int, generator: Generator, most: float = math.inf) -> Tensor:
        """Draw dispersed starts ``(chains, dim)``.

        Normal around w* with `start_variances`, pulled in until the energy above w* is at most the
        dimension, twice the posterior's typical value, and t (L - L0) at most *most*.
        """
        like = self.centre.expand(chains, -1)
        shift = normal_like(like, generator) * self.start_variances().sqrt()
        for _ in range(60):
            w = self.centre + shift
            excess = self.excess(w)
            high = ~((excess + self.radius(w) <= max(self.dim, 2)) & (excess <= most))
            if not bool(high.any()):
                break
            shift = torch.where(high.unsqueeze(1), 0.7 * shift, shift)
        return self.centre + shift

    def _measured(self, w: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        self.work += len(w) * (self.n if rows is None else rows.shape[-1])
        return self.target.loss.value_and_grad(w, rows)

    def _localised(self, w: Tensor, loss: Tensor, gradient: Tensor, t: float) -> tuple[Tensor, Tensor]:
        displacement = w - self.centre
        energy = t * loss + 0.5 * self.gamma * vecdot(displacement, displacement)
        return energy, (t * gradient).add_(displacement, alpha=self.gamma)

    def drawn(self, size: int, generator: Generator) -> Tensor:
        """Draw *size* different examples ``(size,)``."""
        return torch.randperm(self.n, generator=generator, device=self.centre.device)[:size]

    def _rows(self, w: Tensor, batch: int, generator: Generator) -> Tensor:
        return torch.randint(self.n, (len(w), batch), generator=generator, device=w.device)
