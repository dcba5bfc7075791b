"""Losses whose gradient jumps, as of absolute values: no curvature tells how long a step may be there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator

from parsl_optuna.kernels import langevin
from parsl_optuna.kernels.types import Potential

_PARTS = (0.25, 0.125)
"""Of the step, at which energy errors are compared: as short as shows the power with which they grow."""

_SMOOTH = 2.0**2.5
"""Factor between energy errors of two short steps, one half of the other, below which the gradient jumps: it
is 8 of a smooth loss, 2.7 to 4 of absolute values, hinges and quantiles (measured).
"""

_POWER, _HARMFUL = 1.75, 0.05
"""With which power of the step errors of jumps grow, and the root of their variance per dimension from which
on steps need a test: L1, hinge and quantile losses had 0.08 to 0.27, and LLCs that were up to 3 % too large
without; Huber's and a network of ReLU, at most 0.035, and none (measured).
"""

_HALVINGS, _TRIED = 8, 8
"""Of a step, at most, until hardly one is rejected, and steps by which that is seen."""

REJECTED = 0.03
"""Share of rejected steps up to which a chain is kept exact; a rejection reverses the motion of all
directions.
"""


def has_kinks(
    potential: Potential, params: langevin.Params, states: Sequence[langevin.State], generator: Generator
) -> bool:
    """Whether the gradient jumps by so much that untested steps would bias the LLC.

    Args:
        potential: Of the coordinates that chains move in.
        params: Of the steps in question.
        states: Where chains are, at some times.
        generator: Source of randomness.
    """
    errors = []
    for part in _PARTS:
        motion = replace(params, step_size=part * params.step_size, friction=0.0)
        steps = [langevin.step(state, generator, potential=potential, params=motion) for state in states]
        changes = torch.stack([info.energy_change for _, info in steps])
        errors.append(float(changes[torch.isfinite(changes)].square().mean().sqrt()))
    longer, shorter = errors
    whole = shorter * (1.0 / _PARTS[1]) ** _POWER
    return longer < _SMOOTH * shorter and whole > _HARMFUL * math.sqrt(states[0].position.shape[1])


def tested(
    potential: Potential, params: langevin.Params, state: langevin.State, generator: Generator
) -> langevin.Params:
    """Return *params* with every step tested, and so short that hardly one is rejected."""
    for _ in range(_HALVINGS):
        params = replace(params, step_size=0.5 * params.step_size, rejection_threshold=0.0)
        acceptances = []
        for _ in range(_TRIED):
            state, info = langevin.step(state, generator, potential=potential, params=params)
            acceptances.append(info.acceptance.mean())
        if float(torch.stack(acceptances).mean()) >= 1.0 - REJECTED:
            break
    return params
