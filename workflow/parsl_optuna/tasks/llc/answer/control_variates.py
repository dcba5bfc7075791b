"""Control variates: observables with a known mean, correlated with the loss, subtracted from its draws.

For every point c and diagonal matrix D, E[(w - c)' D grad U] = tr D (integration by parts). For a normal
posterior whose loss determines all of w, t (L - L0) is half of this but for a constant. Mira, Solgi &
Imparato (2013), arXiv:1012.2983.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from parsl_optuna.kernels.diagnostics import ess, rhat
from parsl_optuna.tasks.llc.answer.verdict import TRIAL_GATE

_HELD = 0.5
"""Share of a coordinate's precision that comes from the loss, from which on the loss determines it."""

_FEWEST_DRAWS = 16
"""Of a chain: four batches of four are the fewest that coefficients are fitted to."""

_WORTH = 3.0
"""Factor by which the variance of the mean must fall for control variates to be used; a larger one where the
adjusted series mixes more slowly than the loss. It then depends on motion that the loss does not show, such
as the distance along the thin arms of a singular posterior, and its error is underestimated.
"""


class LossCoordinates(NamedTuple):
    """A point, and 1 for every coordinate that the loss determines, 0 for others; each ``(dim,)``."""

    centre: Tensor
    mask: Tensor

    @property
    def mean(self) -> float:
        """The exact mean of `virial`, tr D."""
        return float(self.mask.sum())

    def virial(self, w: Tensor, gradient: Tensor) -> Tensor:
        """Return (w - c)' D grad U ``(chains,)`` of positions and gradients ``(chains, dim)``."""
        return ((w - self.centre) * self.mask * gradient).sum(-1)


def loss_coordinates(positions: Tensor, gamma: float, centre: Tensor) -> LossCoordinates:
    """Find the coordinates that the loss determines: those narrower than the localization prior.

    Other coordinates would only add noise.

    Args:
        positions: ``(draws, dim)``.
        gamma: Precision of the localization prior.
        centre: Of the prior, ``(dim,)``.
    """
    mask = 1.0 - gamma * positions.var(0) > _HELD  # not so where positions are not finite
    return LossCoordinates(torch.where(mask, positions.mean(0), centre), mask.to(positions))


def adjusted(excess: Tensor, values: Mapping[str, Tensor], known: Mapping[str, float]) -> Tensor:
    """Return control-variate adjusted draws: *excess* less coefficients times (*values* - *known* means).

    They have the mean of *excess*, and are *excess* itself unless the adjustment makes the error much
    smaller and chains agree on the adjusted mean. Coefficients are fitted by least squares to means of
    batches, so that they lower the error of the mean rather than the spread of the draws: where chains are
    slow these differ.

    Args:
        excess: ``(draws, chains)``.
        values: Observables ``(draws, chains)`` by name.
        known: Exact means of some of them.
    """
    draws, chains = excess.shape
    if not known or draws < _FEWEST_DRAWS or not chains:
        return excess
    columns = torch.stack([excess, *(values[name] - mean for name, mean in known.items())]).double()
    if not bool(torch.isfinite(columns).all()):
        return excess
    length = math.isqrt(draws)
    batches = columns[:, draws % length :].unflatten(1, (-1, length)).mean(2).flatten(1).cpu()
    wanted, *controls = batches - batches.mean(1, keepdim=True)
    matrix = torch.stack(controls, dim=1)
    size = matrix.norm(dim=0).clamp(min=1e-300)
    weights = torch.linalg.lstsq(matrix / size, wanted.unsqueeze(1), driver="gelsd").solution[:, 0] / size
    zeros = columns[1:].movedim(0, -1)
    precise = (columns[0] - zeros @ weights.to(zeros)).to(excess)
    mixing = ess(precise) / ess(excess)
    gain = mixing * float(excess.var()) / max(float(precise.var()), 1e-300)
    is_better = gain * min(1.0, mixing) >= _WORTH and rhat(precise) <= TRIAL_GATE.rhat
    return precise if is_better else excess
