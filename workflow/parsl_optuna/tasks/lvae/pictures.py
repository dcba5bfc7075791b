"""What a run leaves to look at: reconstructions, walks along codes, their spread, random designs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from parsl_optuna.tasks.lvae.pruning import Pruner

_DESIGNS, _STEPS, _CODES = 8, 7, 8
"""Columns of a table of designs, steps of a walk, and codes that are walked along, the widest ones."""

_REACH = 2.0
"""Standard deviations to both sides that a walk goes."""

_SIDE = 32
"""Pixels of a picture's side, at most: larger designs are averaged, so that a run leaves some 100 KB."""


@torch.no_grad()
def arrays(
    encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor], pruner: Pruner, designs: Tensor
) -> dict[str, np.ndarray]:
    """Return arrays for `tasks.pictures`.

    Args:
        encode: Designs to codes ``(n, latent_dim)``.
        decode: Codes to designs.
        pruner: Which codes are active.
        designs: For validation, ``(n, 1, side, side)`` or ``(n, length)``.
    """
    codes = pruner.mask(encode(designs))
    mean, std = codes.mean(dim=0), codes.std(dim=0)
    widest = std.argsort(descending=True)
    stream = torch.Generator().manual_seed(0)
    normal = torch.randn(_DESIGNS, len(std), generator=stream).to(std)
    found = {
        "reconstructions_(designs_above)": [designs[:_DESIGNS], decode(codes[:_DESIGNS])],
        "designs_of_random_codes": [decode(mean + std * normal)],
    }
    active = [int(index) for index in widest[:_CODES] if float(std[index]) > 0]
    if active:
        found["walks_along_the_widest_codes"] = [decode(_walk(mean, std, index)) for index in active]
    tables = {name: torch.stack([_small(row) for row in rows]) for name, rows in found.items()}
    tables["standard_deviations_of_codes"] = std[widest]
    return {name: one.float().cpu().numpy() for name, one in tables.items()}


def _walk(mean: Tensor, std: Tensor, index: int) -> Tensor:
    """Return codes ``(steps, latent_dim)`` that differ in one of them alone."""
    walked = mean.repeat(_STEPS, 1)
    walked[:, index] += std[index] * torch.linspace(-_REACH, _REACH, _STEPS).to(std)
    return walked


def _small(designs: Tensor) -> Tensor:
    """Return designs ``(n, height, width)`` or ``(n, length)`` for a picture."""
    if designs.ndim == 2:
        return designs
    if designs.shape[-1] > _SIDE:
        designs = functional.adaptive_avg_pool2d(designs, _SIDE)
    return designs[:, 0]
