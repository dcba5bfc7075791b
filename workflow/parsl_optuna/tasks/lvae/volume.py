"""The volume of the latent codes, and the schedule of its weight."""

from __future__ import annotations

import torch
from torch import Tensor


def volume(codes: Tensor, active: Tensor, frozen_std: Tensor, eta: float, scale: float) -> Tensor:
    """Return exp(mean over dimensions of ln(std + eta)), stds in units of *scale*.

    Pruned dimensions count with the std that they had when they were pruned, so that pruning changes
    nothing here. Zero where no dimension is active, or for a batch of one.

    Args:
        codes: ``(batch, dims)``.
        active: ``(dims,)`` booleans.
        frozen_std: ``(dims,)``, of the pruned ones.
        eta: Keeps the logarithm finite.
        scale: Spread of the data.

    Source: Chen & Fuge 2024, "Compressing Latent Space via Least Volume", eq. 1, with eta.
    """
    if len(codes) < 2 or not bool(active.any()):
        return codes.sum() * 0.0
    # The square root has no gradient at zero, which a dead dimension reaches exactly.
    std = (codes.var(dim=0) + 1e-24).sqrt()
    std = torch.where(active.to(std.device), std, frozen_std.to(std.device))
    return (std / scale + eta).log().mean().exp()


def weight(epoch: int, final: float, ramp: int, power: float) -> float:
    """Return the weight of the volume: ``final * (epoch / ramp)**power``, then *final*."""
    return final if epoch >= ramp else final * (epoch / ramp) ** power
