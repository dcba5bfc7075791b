"""Small operations on batches of chains that every kernel needs."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor

N = TypeVar("N", bound=tuple[Any, ...])


def normal_like(position: Tensor, generator: Generator) -> Tensor:
    """Draw standard normals of the shape, dtype and device of *position*.

    They are drawn in single precision: 24 random bits, none beyond 5.8. In double precision they would take
    six times as long, more than the gradient of a small model.
    """
    draws = torch.randn(position.shape, generator=generator, dtype=torch.float32, device=position.device)
    return draws.to(position.dtype)


def uniform_like(values: Tensor, generator: Generator) -> Tensor:
    """Draw uniforms on [0, 1) of the shape, dtype and device of *values*."""
    return torch.rand(values.shape, generator=generator, dtype=values.dtype, device=values.device)


def shrunk_like(values: Tensor, spread: float, generator: Generator) -> Tensor:
    """Return factors 2^(-spread u^3) on a step size, u uniform; nothing is drawn without a spread."""
    if spread == 0.0:
        return torch.ones_like(values)
    return 2.0 ** (-spread * uniform_like(values, generator).pow(3))


class MetropolisResult(NamedTuple):
    """A Metropolis test: energy error, acceptance probability and decision, each ``(chains,)``.

    An energy error that is not finite counts as infinite.
    """

    change: Tensor
    acceptance: Tensor
    accepted: Tensor


def metropolis(change: Tensor, generator: Generator) -> MetropolisResult:
    """Accept with probability min(1, exp(-change)), *change* the energy errors ``(chains,)``."""
    change = torch.where(torch.isfinite(change), change, torch.inf)
    acceptance = torch.exp(-change.clamp(min=0.0))
    return MetropolisResult(change, acceptance, uniform_like(change, generator) < acceptance)


def select(chosen: Tensor, new: N, old: N) -> N:
    """Take the state *new* for the chosen chains ``(chains,)`` and *old* for the others."""
    if chosen.device.type == "cpu" and bool(chosen.all()):  # elsewhere asking costs more than copying
        return new
    picked = (
        torch.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(new, old, strict=True)
    )
    return type(old)(*picked)
