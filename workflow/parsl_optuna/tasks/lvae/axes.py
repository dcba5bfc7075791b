"""Turns the codes to their principal axes, of which the smallest carries as little as any can.

The volume alone leaves them in any axes: of sixteen codes of a curved set of three parameters each carries a
part of all three, and a network that loses the smallest of them loses a parameter. Encoder and decoder end
and begin linearly at the codes: a rotation between them changes neither designs nor the norm of a layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from parsl_optuna.tasks.lvae.spectral import SpectralLinear


def principal_axes(codes: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rotation ``(dims, dims)`` to the principal axes of the active codes, and their stds there.

    Other codes stay as they are. The smallest comes first; stds are ``(active.sum(),)``. Both are on the CPU.

    Args:
        codes: ``(designs, dims)``, two designs or more.
        active: ``(dims,)`` booleans, two or more of them true.
    """
    index = active.nonzero().flatten()
    variances, axes = torch.linalg.eigh(torch.cov(codes.cpu()[:, index].double().T))
    rotation = torch.eye(len(active), dtype=codes.dtype)
    rotation[index[:, None], index] = axes.T.to(codes.dtype)
    return rotation, variances.clamp_min(0.0).sqrt().to(codes.dtype)


@torch.no_grad()
def turn(encoder: nn.Sequential, first: SpectralLinear, optimiser: Optimizer, rotation: Tensor) -> None:
    """Turn the codes between the *encoder*, whose last layer is linear, and the decoder's *first* layer.

    Adam's first moments turn with the weights. Its second ones, which are of single entries, become what they
    would be if gradients of different codes were uncorrelated.
    """
    last = encoder[-1]
    assert isinstance(last, nn.Linear)
    rotation = rotation.to(last.weight.device)
    for weight in (last.weight, last.bias, first.weight):
        moments = optimiser.state.get(weight, {})
        turned = [(weight, rotation)]
        turned += [
            (moments[name], how)
            for name, how in (("exp_avg", rotation), ("exp_avg_sq", rotation.square()))
            if name in moments
        ]
        for tensor, how in turned:
            tensor.copy_(tensor @ how.T if weight is first.weight else how @ tensor)
    first.v.copy_(first.v @ rotation.T)
