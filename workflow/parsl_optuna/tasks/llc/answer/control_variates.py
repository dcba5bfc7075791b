"""Control variates: observables of known mean that move with the loss, taken off its draws.

For every point c and diagonal matrix D, E[(w - c)' D grad U] = tr D (integration by parts). Of a normal
posterior that holds all of w, t (L - L0) is half of this but for a constant. Mira, Solgi & Imparato (2013),
arXiv:1012.2983.
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
"""Share of a coordinate's precision that comes from the loss, from which on the loss holds it."""

_FEWEST_DRAWS = 16
_WORTH = 3.0
"""Factor on the variance of the mean from which on controls are used; more where what they leave mixes
more slowly than the loss: it leans on motion that the loss does not show, as on the distance along the thin
arms of singular posteriors.
"""


class Held(NamedTuple):
    """A point, and 1 for every coordinate that the loss holds, 0 for others; each ``(dim,)``."""

    centre: Tensor
    mask: Tensor

    @property
    def mean(self) -> float:
        """What `virial` is on average."""
        return float(self.mask.sum())

    def virial(self, w: Tensor, gradient: Tensor) -> Tensor:
        """Return (w - c)' D grad U ``(chains,)`` of positions and gradients ``(chains, dim)``."""
        return ((w - self.centre) * self.mask * gradient).sum(-1)


def held_by_loss(positions: Tensor, gamma: float, centre: Tensor) -> Held:
    """Tell from draws what the loss holds: what is narrower than the localiser alone would leave it.

    Coordinates that it does not hold would only add noise.

    Args:
        positions: ``(draws, dim)``.
        gamma: Precision of the localiser.
        centre: Of the localiser, ``(dim,)``.
    """
    mask = 1.0 - gamma * positions.var(0) > _HELD  # not so where positions are not finite
    return Held(torch.where(mask, positions.mean(0), centre), mask.to(positions))


def adjusted(excess: Tensor, values: Mapping[str, Tensor], known: Mapping[str, float]) -> Tensor:
    """Return draws of the same mean as *excess*, less how *values* differ from their *known* means.

    That is *excess* itself unless it makes the error much smaller and chains agree on what is left.

    Coefficients are fitted to means of batches, so that they lower the error of the mean rather than the
    spread of the draws: where chains are slow these are not the same.

    Args:
        excess: ``(draws, chains)``.
        values: Observables ``(draws, chains)`` by name.
        known: What some of them are on average.
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
