"""Kinetic Langevin dynamics, BAOAB, unit masses: one gradient per step, and ballistic motion.

Leimkuhler & Matthews (2013), arXiv:1203.5428: half a kick, half a drift, fresh noise, half a drift, half a
kick. Positions are exact on a quadratic for every stable step, so that the step is set by the stiffest
direction alone; a Metropolis test after every trajectory wants one that shrinks as dim^(-1/4) besides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from torch import Generator, Tensor

from workflow.kernels.batch import metropolis, normal_like, select
from workflow.kernels.types import DIVERGENCE_THRESHOLD, Info, Kernel, Potential


@dataclass(frozen=True)
class Params:
    """Settings of one kernel.

    Args:
        step_size: Time per step, where 2 / sqrt(largest curvature) is the limit of stability.
        friction: Rate at which momenta are forgotten.
        slack: Energy error of a step up to which it is not tested. 0 makes the chain exact; more keeps
            the many small errors of many dimensions, each harmless to its own direction, from
            reversing the motion all the time.
    """

    step_size: float
    friction: float = 1.0
    slack: float = 0.0


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
    """Make one step, and turn back where it gained too much energy.

    The energy error is the work of the deterministic parts alone; a step is as likely as its reverse up
    to that factor (Sivak, Chodera & Crooks 2013, arXiv:1107.2967), so a Metropolis test on it, with momenta
    reversed on rejection, leaves the target invariant.
    """
    size = params.step_size
    kept = math.exp(-params.friction * size)
    kicked = state.momentum - 0.5 * size * state.gradient
    refreshed = kept * kicked + math.sqrt(1.0 - kept * kept) * normal_like(kicked, generator)
    position = state.position + 0.5 * size * (kicked + refreshed)
    energy, gradient = potential(position, generator)
    momentum = refreshed - 0.5 * size * gradient
    change = energy - state.potential + _gain(kicked, state.momentum) + _gain(momentum, refreshed)
    change, acceptance, accepted = metropolis(change, generator)
    turned = state._replace(momentum=-state.momentum)
    new = select(accepted | (change <= params.slack), State(position, momentum, energy, gradient), turned)
    return new, Info(acceptance, change, change > DIVERGENCE_THRESHOLD, 1)


def _gain(after: Tensor, before: Tensor) -> Tensor:
    """Return the difference of the kinetic energies; as a product, which loses no digits."""
    return 0.5 * ((after - before) * (after + before)).sum(-1)
