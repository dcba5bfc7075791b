"""Small operations on batches of chains that every kernel needs."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Generator, Tensor

N = TypeVar("N", bound=tuple[Any, ...])


def normal_like(position: Tensor, generator: Generator) -> Tensor:
    """Draw standard normals of the shape, dtype and device of *position*."""
    return torch.randn(position.shape, generator=generator, dtype=position.dtype, device=position.device)


def uniform_like(values: Tensor, generator: Generator) -> Tensor:
    """Draw uniforms on [0, 1) of the shape, dtype and device of *values*."""
    return torch.rand(values.shape, generator=generator, dtype=values.dtype, device=values.device)


def select(chosen: Tensor, new: N, old: N) -> N:
    """Take the state *new* for the chosen chains ``(chains,)`` and *old* for the others."""
    picked = (
        torch.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(new, old, strict=True)
    )
    return type(old)(*picked)
