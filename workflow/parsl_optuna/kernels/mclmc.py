"""Microcanonical Langevin Monte Carlo: isokinetic dynamics, with and without Metropolis adjustment.

Robnik, De Luca, Silverstein, Seljak (2023), arXiv:2212.08549; adjusted (MAMS): Robnik, Cohn-Gordon,
Seljak (2025), arXiv:2503.01707. Positions move along a unit direction u; one coordinate has unit
scale after division by ``Params.scale``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.kernels.batch import metropolis, normal_like, select
from parsl_optuna.kernels.device import precision_of
from parsl_optuna.kernels.types import DIVERGENCE_THRESHOLD, Info, Kernel, Potential

# Minimal-norm integrator (McLachlan 1995; Omelyan et al. 2003): two gradients per step.
_B1 = 0.1931833275037836
_B2 = 1.0 - 2.0 * _B1


@dataclass(frozen=True)
class Params:
    """Settings of one kernel; lengths are in the coordinates divided by *scale*.

    Args:
        step_size: Integration step.
        decoherence_length: L, the path length over which the direction decorrelates.
        scale: ``(dim,)`` estimate of the posterior standard deviations.
        adjusted: Whether a whole trajectory of mean length L is accepted or rejected.
    """

    step_size: float
    decoherence_length: float
    scale: Tensor
    adjusted: bool = False


class State(NamedTuple):
    """Positions and unit directions ``(chains, dim)``, energies ``(chains,)`` and gradients."""

    position: Tensor
    direction: Tensor
    potential: Tensor
    gradient: Tensor


def build(potential: Potential, params: Params) -> Kernel[State]:
    """Return the kernel with density and settings bound."""
    move = _adjusted_step if params.adjusted else _langevin_step
    return Kernel(partial(init, potential=potential), partial(move, potential=potential, params=params))


def init(position: Tensor, generator: Generator, *, potential: Potential) -> State:
    """Evaluate the start and draw directions; one gradient per chain.

    Raises:
        ValueError: One dimension, where a unit direction cannot turn.
    """
    if position.shape[-1] < 2:
        raise ValueError("isokinetic dynamics needs at least 2 dimensions")
    return State(position, _unit(normal_like(position, generator)), *potential(position, generator))


def _langevin_step(
    state: State, generator: Generator, *, potential: Potential, params: Params
) -> tuple[State, Info]:
    """Refresh half, one minimal-norm step, refresh half; an energy error is reported, not corrected."""
    refreshed = _refresh(state, generator, params)
    moved, change = _minimal_norm(refreshed, potential, params, generator)
    finite = torch.isfinite(change) & torch.isfinite(moved.position).all(-1)
    kept = select(finite, moved, state)
    turned = _refresh(kept, generator, params)
    change = torch.where(finite, change, torch.inf)
    diverged = change > DIVERGENCE_THRESHOLD
    return turned, Info(finite.to(change.dtype), change, diverged, 2)


def _adjusted_step(
    state: State, generator: Generator, *, potential: Potential, params: Params
) -> tuple[State, Info]:
    """Draw new directions, integrate a trajectory of random length near L, accept or stay."""
    start = state._replace(direction=_unit(normal_like(state.position, generator)))
    device = generator.device
    jitter = 0.5 + float(torch.rand((), generator=generator, device=device, dtype=precision_of(device)))
    n_steps = max(1, round(jitter * params.decoherence_length / params.step_size))
    moved, change = start, torch.zeros_like(state.potential)
    for _ in range(n_steps):
        moved, error = _minimal_norm(moved, potential, params, generator)
        change = change + error
    change, acceptance, accepted = metropolis(change, generator)
    info = Info(acceptance, change, change > DIVERGENCE_THRESHOLD, 2 * n_steps)
    return select(accepted, moved, start), info


def _minimal_norm(
    state: State, potential: Potential, params: Params, generator: Generator
) -> tuple[State, Tensor]:
    """Integrate B(b1) A(1/2) B(b2) A(1/2) B(b1); return the state and its energy error."""
    h, scale = params.step_size, params.scale
    position, direction, energy, gradient = state
    direction, kinetic = turn(direction, gradient * scale, _B1 * h)
    position = position + 0.5 * h * scale * direction
    _, gradient = potential(position, generator)
    direction, change = turn(direction, gradient * scale, _B2 * h)
    kinetic = kinetic + change
    position = position + 0.5 * h * scale * direction
    energy, gradient = potential(position, generator)
    direction, change = turn(direction, gradient * scale, _B1 * h)
    kinetic = kinetic + change
    return State(position, direction, energy, gradient), energy - state.potential + kinetic


def turn(direction: Tensor, gradient: Tensor, length: float) -> tuple[Tensor, Tensor]:
    """Rotate unit directions towards -gradient for a path *length*; exact for a constant gradient.

    With e = -g/|g|, c = e.u, delta = length |g| / (d-1), zeta = exp(-delta), the new direction is
    the unit vector along e (1-zeta)(1+zeta+c(1-zeta)) + 2 zeta u, and the kinetic energy changes
    by (d-1) [delta - log 2 + log(1 + c + (1-c) zeta^2)] (all exponentials decay).

    Returns:
        Directions ``(chains, dim)`` and kinetic energy changes ``(chains,)``.
    """
    dim = direction.shape[-1]
    norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
    towards = -gradient / norm.clamp(min=torch.finfo(gradient.dtype).tiny)
    cosine = (towards * direction).sum(-1, keepdim=True)
    delta = length * norm / (dim - 1)
    zeta = torch.exp(-delta)
    turned = towards * (1 - zeta) * (1 + zeta + cosine * (1 - zeta)) + 2 * zeta * direction
    argument = (1 + cosine + (1 - cosine) * zeta.square()).clamp(min=torch.finfo(zeta.dtype).tiny)
    change = (dim - 1) * (delta - math.log(2.0) + torch.log(argument))
    length_after = torch.linalg.vector_norm(turned, dim=-1, keepdim=True)
    # A direction exactly against the force does not turn, and would be divided by zero.
    stuck = length_after <= torch.finfo(turned.dtype).tiny
    return torch.where(stuck, direction, turned / length_after), change.squeeze(-1)


def _refresh(state: State, generator: Generator, params: Params) -> State:
    """Mix noise into the directions so that they decorrelate over the length L.

    Half of the refreshment of one step: nu^2 = (exp(h/L) - 1)/d, applied before and after it.
    """
    dim = state.position.shape[-1]
    nu = math.sqrt(math.expm1(params.step_size / params.decoherence_length) / dim)
    noise = normal_like(state.direction, generator)
    return state._replace(direction=_unit(state.direction + nu * noise))


def _unit(vector: Tensor) -> Tensor:
    return vector / torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
