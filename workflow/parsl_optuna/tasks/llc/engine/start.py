"""Starts that are spread like the posterior: the localiser's Gaussian, cooled until the loss counts fully.

Chains that start at w* have yet to diffuse along every flat direction, which is the slowest part of a run
and the one that biases it. Chains from the localiser have the right width there from the beginning, and
the loss narrows only the directions it sees (annealing; Neal 2001, arXiv:physics/9803008).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import hmc
from parsl_optuna.kernels.batch import normal_like
from parsl_optuna.kernels.types import Potential
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.problem.estimand import Estimand

_RUNGS_PER_DECADE = 8
_REPEATS = 50
_COOL = 1.1
_COLD = 1.01
_ACCEPT = 0.7
_OWN = 0.9
_FEWEST_EXAMPLES = 192
_EXAMPLES_PER_T = 1.5
"""A trajectory sees part of the data alone, of which the posterior is wider than parts are apart."""


class _Cooling(NamedTuple):
    """Where the cooling is: rungs done, positions ``(chains, dim)``, step sizes ``(chains, 1)``."""

    rung: int
    position: Tensor
    sizes: Tensor


def localised(estimand: Estimand, chains: int, generator: Generator) -> Tensor:
    """Draw positions ``(chains, dim)`` from the localiser's Gaussian."""
    like = estimand.centre.expand(chains, -1)
    return estimand.centre + normal_like(like, generator) / math.sqrt(estimand.gamma)


def annealed(
    estimand: Estimand, chains: int, stages: Stages, deadline: Deadline, stiffest: float = math.inf
) -> Tensor:
    """Draw starts ``(chains, dim)``.

    Each rung raises the factor on the loss by 10^(1/8), from where the loss hardly counts up to t, and
    moves every chain by short trajectories until the virial identity E[(w - w*) . grad U] = dim says that
    no direction is much hotter than it should be.

    Args:
        estimand: What the chains will sample.
        chains: How many.
        stages: Source of randomness, and where progress is kept.
        deadline: When it expires, the remaining rungs are skipped.
        stiffest: They also are when the localiser is as many median step sizes wide.
    """
    w = localised(estimand, chains, stages.stream)
    excess = estimand.excess(w) / estimand.t
    first = 1.0 / max(float(excess.nan_to_num(torch.inf).median()), 1.0 / estimand.t)
    rungs = max(1, math.ceil(_RUNGS_PER_DECADE * math.log10(estimand.t / first)))
    sizes = torch.full((chains, 1), 0.5 / math.sqrt(estimand.gamma), dtype=w.dtype, device=w.device)

    def cool(state: _Cooling) -> _Cooling:
        rung = state.rung + 1
        t = first * (estimand.t / first) ** (rung / rungs)
        allowed = _COOL if rung < rungs else _COLD
        w, sizes = _equilibrated(estimand, t, allowed, state, stages.stream, deadline)
        is_left = deadline.expired or float(sizes.median()) * stiffest * math.sqrt(estimand.gamma) < 1.0
        return _Cooling(rungs if is_left else rung, w, sizes)

    return stages.run(cool, _Cooling(0, w, sizes), lambda state: state.rung >= rungs).position


def _equilibrated(
    estimand: Estimand, t: float, allowed: float, start: _Cooling, generator: Generator, deadline: Deadline
) -> tuple[Tensor, Tensor]:
    """Move chains under a factor *t* on the loss until the virial is *allowed*; also return step sizes."""
    chains, sizes = len(start.position), start.sizes
    ones = torch.ones_like(estimand.centre)
    leapfrogs = max(1, round(4.0 * estimand.dim**0.25))  # at a given acceptance, steps shrink as dim^(-1/4)
    hottest = 1.0 + 6.0 * math.sqrt(2.0 / estimand.dim) + 20.0 / estimand.dim
    examples = max(_FEWEST_EXAMPLES, math.ceil(_EXAMPLES_PER_T * t))
    is_part = estimand.target.loss.has_data and examples < estimand.n

    def begin(position: Tensor) -> tuple[Potential, hmc.State]:
        rows = estimand.drawn(examples, generator) if is_part else None
        potential = estimand.tempered(t, rows)
        return potential, hmc.init(position, generator, potential=potential)

    potential, state = begin(start.position)
    for repeat in range(_REPEATS):
        if is_part and repeat:  # another part for every trajectory
            potential, state = begin(state.position)
        settings = hmc.Params(sizes, ones, leapfrogs)
        state, info = hmc.step(state, generator, potential=potential, params=settings)
        # Chains share a little of what they learn, so that none is left with a hopeless step.
        sizes = sizes * (info.acceptance.unsqueeze(1) - _ACCEPT).exp().clamp(max=1.2)
        sizes = (_OWN * sizes.log() + (1.0 - _OWN) * sizes.log().mean()).exp()
        virial = ((state.position - estimand.centre) * state.gradient).sum(-1) / estimand.dim
        is_cool = float(virial.mean() - virial.std() / math.sqrt(chains)) <= allowed
        if (is_cool and float(virial.max()) <= hottest) or deadline.expired:
            break
    return state.position, sizes
