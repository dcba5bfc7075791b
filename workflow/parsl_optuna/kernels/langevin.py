"""Kinetic Langevin dynamics, BAOAB, unit masses: one gradient per step, and ballistic motion.

Leimkuhler & Matthews (2013), arXiv:1203.5428: half a kick (B), half a drift (A), fresh noise (O),
half a drift, half a kick. Positions are exact on a quadratic for every stable step, so the stiffest direction
alone sets the step; with a Metropolis test after every trajectory the step has to shrink as dim^(-1/4)
besides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.linalg import vecdot

from parsl_optuna.kernels.batch import metropolis, normal_like, select
from parsl_optuna.kernels.types import DIVERGENCE_THRESHOLD, Info, Kernel, Potential

_DEVIATIONS = 4.0
"""Rejection threshold in standard deviations: normal energy errors exceed it once in 32,000 steps."""

_NORMAL_MEDIAN = 0.6745
"""Median absolute value of a standard normal variable: a robust estimate of a standard deviation."""


@dataclass(frozen=True)
class Motion:
    """Settings of the motion.

    Args:
        step_size: Time per step, where 2 / sqrt(largest curvature) is the limit of stability.
        friction: Rate at which momenta decorrelate.
    """

    step_size: float
    friction: float = 1.0


@dataclass(frozen=True)
class Params(Motion):
    """Settings of one kernel: those of the motion, and of the test.

    Args:
        rejection_threshold: Energy error of a step up to which it is accepted without a test, of all chains
        or of
            each ``(chains,)``. 0 makes the chain exact. A larger one lets the many small errors of many
            dimensions pass, each harmless to its own direction; tested, they would reverse the motion again
            and again.
    """

    rejection_threshold: float | Tensor = 0.0


class State(NamedTuple):
    """Positions and momenta ``(chains, dim)``, energies ``(chains,)`` and gradients there."""

    position: Tensor
    momentum: Tensor
    potential: Tensor
    gradient: Tensor


def build(potential: Potential, params: Params) -> Kernel[State]:
    """Return the kernel with density and settings bound."""
    return Kernel(partial(init, potential=potential), partial(step, potential=potential, params=params))


def init(position: Tensor, generator: Generator, *, potential: Potential) -> State:
    """Draw momenta and evaluate the start; one gradient per chain."""
    return State(position, normal_like(position, generator), *potential(position, generator))


def step(state: State, generator: Generator, *, potential: Potential, params: Params) -> tuple[State, Info]:
    """Make one step; reject it where it gained too much energy.

    The energy error is the change of U + |p|^2 / 2 in the deterministic parts (kicks and drifts) alone. A
    step and its reverse differ in probability by exp(-error) (Sivak, Chodera & Crooks 2013,
    arXiv:1107.2967), so a Metropolis test on it, with momenta reversed on rejection, leaves the target
    invariant.
    """
    half = 0.5 * params.step_size
    position, refreshed = moved(state.position, state.momentum, state.gradient, generator, params)
    energy, gradient = potential(position, generator)
    momentum = torch.add(refreshed, gradient, alpha=-half)
    work = kinetic_change(state.momentum, state.gradient, half) + kinetic_change(refreshed, gradient, half)
    change, acceptance, accepted = metropolis(energy - state.potential + work, generator)
    turned = state._replace(momentum=-state.momentum)
    new = select(
        accepted | (change <= params.rejection_threshold), State(position, momentum, energy, gradient), turned
    )
    return new, Info(acceptance, change, change > DIVERGENCE_THRESHOLD, 1)


def moved(
    position: Tensor, momentum: Tensor, gradient: Tensor, generator: Generator, motion: Motion
) -> tuple[Tensor, Tensor]:
    """Return positions after a step and momenta ``(chains, dim)`` before its last half kick."""
    half = 0.5 * motion.step_size
    kept = math.exp(-motion.friction * motion.step_size)
    kicked = torch.add(momentum, gradient, alpha=-half)
    refreshed = normal_like(kicked, generator).mul_(math.sqrt(1.0 - kept * kept)).add_(kicked, alpha=kept)
    return torch.add(position, kicked, alpha=half).add_(refreshed, alpha=half), refreshed


def rejection_threshold(changes: Tensor) -> Tensor:
    """Return four standard deviations ``(chains,)`` of the energy errors *changes* ``(steps, chains)``.

    The deviation is that of all chains, or of a chain's own errors where that is larger: with one threshold
    for all, a chain that starts in a stiffer place would be rejected again and again, and never leave it.
    Infinite errors count as 0.
    """
    sizes = changes.abs()
    own, shared = (size.nan_to_num(0.0, posinf=0.0) for size in (sizes.median(0).values, sizes.median()))
    return _DEVIATIONS / _NORMAL_MEDIAN * torch.maximum(own, shared)


def kinetic_change(momentum: Tensor, gradient: Tensor, time: float) -> Tensor:
    """Return the change of kinetic energy in a kick of length *time*, without subtracting large numbers."""
    return 0.5 * time * time * vecdot(gradient, gradient) - time * vecdot(gradient, momentum)
