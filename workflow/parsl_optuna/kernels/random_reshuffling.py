"""Kinetic Langevin dynamics on minibatches without replacement (random reshuffling).

Every minibatch comes once per epoch, in random order. Over an epoch the errors of their gradients sum to
zero, so motion that is slow beside an epoch hardly feels them; errors of minibatches drawn afresh add up to a
stochastic-gradient bias (Paulin, Whalley, Chada & Leimkuhler 2024, arXiv:2410.19780). Every few steps the
energy on all data is evaluated and tested.
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
        every: Steps between evaluations of the energy on all data.
        rejection_threshold: Energy error of so many steps up to which they are accepted, as in `langevin`.
    """

    every: int = 1
    rejection_threshold: float | Tensor = math.inf


@dataclass(frozen=True)
class Energies:
    """U on minibatches and on all data.

    Args:
        minibatches: U with the loss of one minibatch, scaled to all data.
        full: U on all data.
    """

    minibatches: Sequence[Potential]
    full: Potential


class Moving(NamedTuple):
    """Positions, momenta and the gradients of one minibatch there, each ``(chains, dim)``."""

    position: Tensor
    momentum: Tensor
    gradient: Tensor


class Seen(NamedTuple):
    """The last evaluation on all data.

    Attributes:
        position: ``(chains, dim)``, as the others but *energy*.
        momentum: There.
        gradient: Of one minibatch there.
        energy: ``(chains,)``, U on all data.
        full_gradient: Its gradient.
    """

    position: Tensor
    momentum: Tensor
    gradient: Tensor
    energy: Tensor
    full_gradient: Tensor


class State(NamedTuple):
    """Where the chains are.

    Attributes:
        at: Now.
        seen: At the last evaluation on all data.
        work: ``(chains,)``, kinetic energy that kicks have added since then.
        steps: Since then.
        order: Of the minibatches in the current epoch.
        done: How many of them are done.
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
    _, gradient = energies.minibatches[order[0]](position, generator)
    at = Moving(position, momentum, gradient)
    seen = Seen(*at, *energies.full(position, generator))
    return State(at, seen, torch.zeros_like(seen.energy), 0, order, 1)


def step(state: State, generator: Generator, *, energies: Energies, params: Params) -> tuple[State, Info]:
    """Make one step; every few steps, reject these together where they gained too much energy.

    The energy error of several steps is the work of their deterministic parts, as in `langevin.step`.
    """
    order, done = state.order, state.done
    if done == len(energies.minibatches):
        order, done = _order(energies, generator), 0
    half, (position, momentum, gradient) = 0.5 * params.step_size, state.at
    work = state.work + kinetic_change(momentum, gradient, half)
    position, momentum = moved(position, momentum, gradient, generator, params)
    _, gradient = energies.minibatches[order[done]](position, generator)
    work += kinetic_change(momentum, gradient, half)
    at = Moving(position, torch.add(momentum, gradient, alpha=-half), gradient)
    new = State(at, state.seen, work, state.steps + 1, order, done + 1)
    if new.steps < params.every:
        ones = torch.ones_like(work)
        return new, Info(ones, 0.0 * ones, ones > 1.0, 1)
    return _tested(new, generator, energies, params)


def _tested(state: State, generator: Generator, energies: Energies, params: Params) -> tuple[State, Info]:
    """Test the change of the energy on all data since the last evaluation."""
    now = Seen(*state.at, *energies.full(state.at.position, generator))
    change, acceptance, accepted = metropolis(now.energy - state.seen.energy + state.work, generator)
    passed = accepted | (change <= params.rejection_threshold)
    seen = select(passed, now, state.seen._replace(momentum=-state.seen.momentum))
    new = State(Moving(*seen[:3]), seen, torch.zeros_like(seen.energy), 0, state.order, state.done)
    return new, Info(acceptance, change, change > DIVERGENCE_THRESHOLD, 1)


def _order(energies: Energies, generator: Generator) -> list[int]:
    return torch.randperm(len(energies.minibatches), generator=generator, device=generator.device).tolist()
