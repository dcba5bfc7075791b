"""Kinetic Langevin dynamics on one part of the data per step, every part once per epoch in random order.

Over an epoch the errors of the parts' gradients cancel, so that motion which is slow beside an epoch hardly
feels them, unlike those of minibatches drawn afresh, whose errors add up to heat (random reshuffling; for
Langevin dynamics Paulin, Whalley, Chada & Leimkuhler 2024, arXiv:2410.19780). Every few steps the energy on
all data is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.kernels.batch import metropolis, normal_like, select
from parsl_optuna.kernels.langevin import Motion, kinetic_change, moved
from parsl_optuna.kernels.types import DIVERGENCE_THRESHOLD, Info, Kernel, Potential


@dataclass(frozen=True)
class Params(Motion):
    """Settings of one kernel: those of the motion, and of the test.

    Args:
        every: Steps between looks at the energy on all data.
        rejection_threshold: Energy error of so many steps up to which they are not tested, as in `langevin`.
    """

    every: int = 1
    rejection_threshold: float | Tensor = math.inf


@dataclass(frozen=True)
class Energies:
    """U in parts and as a whole.

    Args:
        parts: U with the loss of one part, scaled to all data.
        whole: U on all data.
    """

    parts: Sequence[Potential]
    whole: Potential


class Moving(NamedTuple):
    """Positions, momenta and the gradients of one part there, each ``(chains, dim)``."""

    position: Tensor
    momentum: Tensor
    gradient: Tensor


class Seen(NamedTuple):
    """What a look at all data showed.

    Attributes:
        position: ``(chains, dim)``, as the others but *energy*.
        momentum: There.
        gradient: Of one part there.
        energy: ``(chains,)``, U on all data.
        whole: Its gradient.
    """

    position: Tensor
    momentum: Tensor
    gradient: Tensor
    energy: Tensor
    whole: Tensor


class State(NamedTuple):
    """Where the chains are.

    Attributes:
        at: Now.
        seen: When all data were looked at last.
        work: ``(chains,)``, kinetic energy that kicks have added since.
        steps: Since then.
        order: Of the parts in the current epoch.
        done: How many parts of it are done.
    """

    at: Moving
    seen: Seen
    work: Tensor
    steps: int
    order: list[int]
    done: int


def build(energies: Energies, params: Params) -> Kernel[State]:
    """Return the kernel with energies and settings bound."""
    return Kernel(partial(init, energies=energies), partial(step, energies=energies, params=params))


def init(position: Tensor, generator: Generator, *, energies: Energies) -> State:
    """Draw momenta and the order of the first epoch; two gradients per chain."""
    momentum, order = normal_like(position, generator), _order(energies, generator)
    _, gradient = energies.parts[order[0]](position, generator)
    at = Moving(position, momentum, gradient)
    seen = Seen(*at, *energies.whole(position, generator))
    return State(at, seen, torch.zeros_like(seen.energy), 0, order, 1)


def step(state: State, generator: Generator, *, energies: Energies, params: Params) -> tuple[State, Info]:
    """Make one step; every few steps, turn back to before them where they gained too much energy.

    The energy error of several steps is the work of their deterministic parts, as in `langevin.step`.
    """
    order, done = state.order, state.done
    if done == len(energies.parts):
        order, done = _order(energies, generator), 0
    half, (position, momentum, gradient) = 0.5 * params.step_size, state.at
    work = state.work + kinetic_change(momentum, gradient, half)
    position, momentum = moved(position, momentum, gradient, generator, params)
    _, gradient = energies.parts[order[done]](position, generator)
    work += kinetic_change(momentum, gradient, half)
    at = Moving(position, torch.add(momentum, gradient, alpha=-half), gradient)
    new = State(at, state.seen, work, state.steps + 1, order, done + 1)
    if new.steps < params.every:
        ones = torch.ones_like(work)
        return new, Info(ones, 0.0 * ones, ones > 1.0, 1)
    return _looked_at(new, generator, energies, params)


def _looked_at(state: State, generator: Generator, energies: Energies, params: Params) -> tuple[State, Info]:
    """Compare the energy on all data with what it was."""
    now = Seen(*state.at, *energies.whole(state.at.position, generator))
    change, acceptance, accepted = metropolis(now.energy - state.seen.energy + state.work, generator)
    passed = accepted | (change <= params.rejection_threshold)
    seen = select(passed, now, state.seen._replace(momentum=-state.seen.momentum))
    new = State(Moving(*seen[:3]), seen, torch.zeros_like(seen.energy), 0, state.order, state.done)
    return new, Info(acceptance, change, change > DIVERGENCE_THRESHOLD, 1)


def _order(energies: Energies, generator: Generator) -> list[int]:
    return torch.randperm(len(energies.parts), generator=generator, device=generator.device).tolist()
