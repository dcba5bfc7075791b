"""Stochastic gradient Langevin dynamics with a decaying step and a diagonal preconditioner.

Welling & Teh (2011); pSGLD: Li et al. (2016), arXiv:1512.07666; Leimkuhler & Matthews (2013),
arXiv:1203.5428, for the averaged noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.kernels.batch import normal_like
from parsl_optuna.kernels.types import Info, Kernel, Potential

Preconditioner = Literal["none", "rmsprop", "adam"]
Noise = Literal["leimkuhler_matthews", "euler"]

_WARM_BATCHES = 20
"""Minibatches whose mean squared gradient starts the second moment, known to 1/sqrt(20 chains) of itself."""

_RELATIVE_FLOOR = 0.1
"""Floor of sqrt(v), relative to its mean over coordinates: at a noise-free minimum v vanishes, and 1/sqrt(v)
would not be bounded by the papers' absolute 1e-8."""

_SECOND_MOMENT_DECAY = {"none": 1.0, "rmsprop": 0.99, "adam": 0.999}
"""0.99: Li et al. (2016); 0.999: Kingma & Ba (2015), arXiv:1412.6980."""


@dataclass(frozen=True)
class Params:
    """Settings of one SGLD kernel; the step at time t is eta0 (1 + t/t0)^-gamma.

    Args:
        eta0: First step size, in the convention drift eta/2, noise variance eta.
        gamma: Decay exponent; 0 keeps the step constant.
        t0: Steps before the decay sets in.
        preconditioner: ``rmsprop`` and ``adam`` scale by 1/(sqrt(v) + floor), v a running second
            moment of the loss gradient (decay 0.99 or 0.999) that is frozen after *freeze_after*
            steps, so that what follows is exact SGLD in rescaled coordinates. Adam's first moment
            is left out: momentum without friction samples another law.
        freeze_after: Steps during which the preconditioner still learns.
        noise: ``leimkuhler_matthews`` averages successive noises (second order in the step, exact
            variance on a quadratic); ``euler`` is plain SGLD (first order).
    """

    eta0: float
    gamma: float = 0.0
    t0: float = 1000.0
    preconditioner: Preconditioner = "none"
    freeze_after: int = 0
    noise: Noise = "leimkuhler_matthews"


class State(NamedTuple):
    """Where the chains are, and what the next step needs.

    Attributes:
        position: ``(chains, dim)``.
        gradient: ``(chains, dim)``, the stochastic gradient used by the last step, taken at the
            position before it on a minibatch independent of that position.
        noise: ``(chains, dim)``, the noise shared with the next step.
        second_moment: ``(dim,)``, pooled over chains.
        time: Steps done.
    """

    position: Tensor
    gradient: Tensor
    noise: Tensor
    second_moment: Tensor
    time: int


def build(potential: Potential, drift: Potential, params: Params) -> Kernel[State]:
    """Return the kernel.

    Args:
        potential: Stochastic U, whose gradient drives the chains.
        drift: Stochastic loss part of U alone; the preconditioner learns from its gradient.
        params: Settings.
    """
    return Kernel(
        partial(init, drift=drift, params=params),
        partial(step, potential=potential, drift=drift, params=params),
    )


def init(position: Tensor, generator: Generator, *, drift: Potential, params: Params) -> State:
    """Start the chains; the second moment is the mean over some minibatches, not 0 or 1."""
    second_moment = torch.ones_like(position[0])
    if params.preconditioner != "none":
        squares = [drift(position, generator)[1].square() for _ in range(_WARM_BATCHES)]
        second_moment = torch.stack(squares).mean((0, 1))
    return State(position, torch.zeros_like(position), normal_like(position, generator), second_moment, 0)


def step(
    state: State, generator: Generator, *, potential: Potential, drift: Potential, params: Params
) -> tuple[State, Info]:
    """Make the move w - (eta/2) P grad U + sqrt(eta P) noise."""
    eta = step_size(params, state.time)
    learning = params.preconditioner != "none" and state.time < params.freeze_after
    second_moment = state.second_moment
    if learning:
        decay = _SECOND_MOMENT_DECAY[params.preconditioner]
        square = drift(state.position, generator)[1].square().mean(0)
        second_moment = decay * second_moment + (1 - decay) * square
    scale = preconditioner(second_moment, params)
    _, gradient = potential(state.position, generator)
    fresh = normal_like(state.position, generator)
    noise, width = (fresh, 1.0) if params.noise == "euler" else (state.noise + fresh, 0.5)
    position = torch.addcmul(state.position, scale, gradient, value=-0.5 * eta)
    position.addcmul_(scale.sqrt(), noise, value=width * math.sqrt(eta))
    diverged = ~torch.isfinite(position.sum(-1))
    ones = torch.ones_like(position[:, 0])
    new = State(position, gradient, fresh, second_moment, state.time + 1)
    return new, Info(ones, 0.0 * ones, diverged, 2 if learning else 1)


def heat(before: State, after: State, params: Params) -> Tensor:
    """Return what a step shows of the virial's excess over its mean, the dimension, ``(chains,)``.

    |w - c|^2 is stationary, wherever c is; hence E[(w - c) . g] - dim = E[u . (u - r)], with the half move
    u = sqrt(eta P) g / 2 and the noise r that the step uses again (none in Euler's scheme), all in
    preconditioned coordinates. That holds for steps of any length and for stochastic gradients g. It varies
    far less than the virial itself, whose chance is that of soft directions.
    """
    scale = preconditioner(before.second_moment, params)
    half_move = scale.sqrt() * after.gradient * (0.5 * math.sqrt(step_size(params, before.time)))
    own = half_move if params.noise == "euler" else half_move - before.noise
    return (half_move * own).sum(-1)


def step_size(params: Params, time: int) -> float:
    """Return eta0 (1 + time/t0)^-gamma."""
    return params.eta0 * (1.0 + time / params.t0) ** -params.gamma


def preconditioner(second_moment: Tensor, params: Params) -> Tensor:
    """Return P ``(dim,)``; the floor keeps P bounded where the gradient vanishes at a minimum."""
    if params.preconditioner == "none":
        return torch.ones_like(second_moment)
    root = second_moment.sqrt()
    return 1.0 / (root + _RELATIVE_FLOOR * root.mean() + torch.finfo(root.dtype).tiny)
