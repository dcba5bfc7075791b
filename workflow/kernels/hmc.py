"""Hamiltonian Monte Carlo with a diagonal mass and jittered trajectory lengths.

Neal (2011), "MCMC using Hamiltonian dynamics", arXiv:1206.1901. Jitter avoids the resonances
that make a fixed trajectory length silently under-estimate variances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from workflow.kernels.batch import normal_like, select, uniform_like
from workflow.kernels.types import DIVERGENCE_THRESHOLD, Info, Kernel, Potential


@dataclass(frozen=True)
class Params:
    """Settings of one HMC kernel.

    Args:
        step_size: Leapfrog step, in units of the mass-scaled coordinates.
        inverse_mass: ``(dim,)`` estimate of the posterior variances.
        leapfrog_steps: Mean number of leapfrog steps; each draw uses 0.5 to 1.5 times as many.
    """

    step_size: float
    inverse_mass: Tensor
    leapfrog_steps: int


class State(NamedTuple):
    """Positions ``(chains, dim)`` with their energies and gradients."""

    position: Tensor
    potential: Tensor
    gradient: Tensor


def build(potential: Potential, params: Params) -> Kernel[State]:
    """Return the kernel with density and settings bound."""
    return Kernel(partial(init, potential=potential), partial(step, potential=potential, params=params))


def init(position: Tensor, generator: Generator, *, potential: Potential) -> State:
    """Evaluate the start; one gradient per chain."""
    return State(position, *potential(position, generator))


def step(state: State, generator: Generator, *, potential: Potential, params: Params) -> tuple[State, Info]:
    """Draw momenta, integrate a trajectory of random length, accept or stay.

    The acceptance probability is min(1, exp(H - H')), H = U + p' M^-1 p / 2.
    """
    sd = params.inverse_mass.sqrt()
    momentum = normal_like(state.position, generator) / sd
    n_steps = _jittered(params.leapfrog_steps, generator)
    proposal, end_momentum = _leapfrog(state, momentum, n_steps, potential, params, generator)
    change = (
        proposal.potential
        - state.potential
        + _kinetic(end_momentum, params.inverse_mass)
        - _kinetic(momentum, params.inverse_mass)
    )
    change = torch.where(torch.isfinite(change), change, torch.inf)
    acceptance = torch.exp(-change.clamp(min=0.0))
    uniform = uniform_like(change, generator)
    accepted = uniform < acceptance
    info = Info(acceptance, change, change > DIVERGENCE_THRESHOLD, n_steps)
    return select(accepted, proposal, state), info


def _leapfrog(
    state: State,
    momentum: Tensor,
    n_steps: int,
    potential: Potential,
    params: Params,
    generator: Generator,
) -> tuple[State, Tensor]:
    position, energy, gradient = state
    for _ in range(n_steps):
        momentum = momentum - 0.5 * params.step_size * gradient
        position = position + params.step_size * params.inverse_mass * momentum
        energy, gradient = potential(position, generator)
        momentum = momentum - 0.5 * params.step_size * gradient
    return State(position, energy, gradient), momentum


def _kinetic(momentum: Tensor, inverse_mass: Tensor) -> Tensor:
    return 0.5 * (inverse_mass * momentum.square()).sum(-1)


def _jittered(mean: int, generator: Generator) -> int:
    low, high = max(1, (mean + 1) // 2), max(1, (3 * mean) // 2)
    return int(torch.randint(low, high + 1, (), generator=generator, device=generator.device))
