"""Hamiltonian Monte Carlo with a diagonal mass and jittered trajectory lengths.

Neal (2011), "MCMC using Hamiltonian dynamics", arXiv:1206.1901. Jitter avoids the resonances
that make a fixed trajectory length silently under-estimate variances. A step size drawn afresh for
every chain and draw, without regard to the state, leaves the target invariant too; where the
curvature varies over the posterior, the short ones move a chain that the long ones leave stuck.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.kernels.batch import metropolis, normal_like, select, shrunk_like
from parsl_optuna.kernels.types import DIVERGENCE_THRESHOLD, Info, Kernel, Potential

SHORT = 2.0**-0.5
"""A step is short when it is shrunk by at least this to the power of the spread: half of the range."""


@dataclass(frozen=True)
class Params:
    """Settings of one HMC kernel.

    Args:
        step_size: Leapfrog step, in units of the mass-scaled coordinates; ``(chains, 1)`` if they differ.
        inverse_mass: ``(dim,)`` estimate of the posterior variances.
        leapfrog_steps: Mean number of leapfrog steps; each draw uses 0.5 to 1.5 times as many.
        spread: Each chain and draw uses the step times 2^(-spread u^3), u uniform; 0 is one size.
    """

    step_size: float | Tensor
    inverse_mass: Tensor
    leapfrog_steps: int
    spread: float = 0.0


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

    The acceptance probability is min(1, exp(H - H')), H = U + p' M^-1 p / 2. With a spread, long
    steps may diverge where short ones do not: only the failure of a short one counts as a divergence.
    """
    sd = params.inverse_mass.sqrt()
    momentum = normal_like(state.position, generator) / sd
    n_steps = _jittered(params.leapfrog_steps, generator)
    shrink = shrunk_like(state.potential, params.spread, generator)
    proposal, end_momentum = _leapfrog(
        state, momentum, shrink.unsqueeze(-1) * params.step_size, n_steps, potential, params, generator
    )
    change = (
        proposal.potential
        - state.potential
        + kinetic(end_momentum, params.inverse_mass)
        - kinetic(momentum, params.inverse_mass)
    )
    change, acceptance, accepted = metropolis(change, generator)
    diverged = (change > DIVERGENCE_THRESHOLD) & (shrink <= SHORT**params.spread)
    return select(accepted, proposal, state), Info(acceptance, change, diverged, n_steps)


def _leapfrog(
    state: State,
    momentum: Tensor,
    size: Tensor,
    n_steps: int,
    potential: Potential,
    params: Params,
    generator: Generator,
) -> tuple[State, Tensor]:
    position, energy, gradient = state
    for _ in range(n_steps):
        momentum = momentum - 0.5 * size * gradient
        position = position + size * params.inverse_mass * momentum
        energy, gradient = potential(position, generator)
        momentum = momentum - 0.5 * size * gradient
    return State(position, energy, gradient), momentum


def kinetic(momentum: Tensor, inverse_mass: Tensor) -> Tensor:
    """Return p' M^-1 p / 2 ``(chains,)``."""
    return 0.5 * (inverse_mass * momentum.square()).sum(-1)


def _jittered(mean: int, generator: Generator) -> int:
    low, high = max(1, (mean + 1) // 2), max(1, (3 * mean) // 2)
    return int(torch.randint(low, high + 1, (), generator=generator, device=generator.device))
