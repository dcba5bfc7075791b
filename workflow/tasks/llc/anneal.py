"""Starts that are spread like the posterior: the localiser's Gaussian, cooled until the loss counts fully.

Chains that start at w* have yet to diffuse along every flat direction, which is the slowest part of a run
and the one that biases it. Chains from the localiser have the right width there from the beginning, and
the loss narrows only the directions it sees (annealing; Neal 2001, arXiv:physics/9803008).
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from workflow.clock import Deadline
from workflow.kernels import hmc
from workflow.kernels.batch import normal_like
from workflow.tasks.llc.estimand import Estimand

_RUNGS_PER_DECADE = 4
_REPEATS = 50
_COOL = 1.1
_COLD = 1.01
_ACCEPT = 0.7


def annealed(estimand: Estimand, chains: int, generator: Generator, deadline: Deadline) -> Tensor:
    """Draw starts ``(chains, dim)``.

    Each rung raises the factor on the loss by 10^(1/4), from where the loss hardly counts up to t, and
    moves every chain by short trajectories until the virial identity E[(w - w*) . grad U] = dim says that
    no direction is much hotter than it should be.

    Args:
        estimand: What the chains will sample.
        chains: How many.
        generator: Source of randomness.
        deadline: When it expires, the remaining rungs are skipped.
    """
    like = estimand.centre.expand(chains, -1)
    w = estimand.centre + normal_like(like, generator) / math.sqrt(estimand.gamma)
    excess = estimand.excess(w) / estimand.t
    first = 1.0 / max(float(excess.nan_to_num(torch.inf).median()), 1.0 / estimand.t)
    rungs = max(1, math.ceil(_RUNGS_PER_DECADE * math.log10(estimand.t / first)))
    sizes = torch.full((chains, 1), 0.5 / math.sqrt(estimand.gamma), dtype=w.dtype, device=w.device)
    ones = torch.ones_like(estimand.centre)
    leapfrogs = max(1, round(4.0 * estimand.dim**0.25))  # at a given acceptance, steps shrink as dim^(-1/4)
    for rung in range(1, rungs + 1):
        t = first * (estimand.t / first) ** (rung / rungs)
        potential = estimand.tempered(t)
        state = hmc.init(w, generator, potential=potential)
        for _ in range(_REPEATS):
            settings = hmc.Params(sizes, ones, leapfrogs)
            state, info = hmc.step(state, generator, potential=potential, params=settings)
            # Chains share a third of what they learn, so that none is left with a hopeless step.
            sizes = sizes * (info.acceptance.unsqueeze(1) - _ACCEPT).exp().clamp(max=1.2)
            sizes = (0.7 * sizes.log() + 0.3 * sizes.log().mean()).exp()
            virial = ((state.position - estimand.centre) * state.gradient).sum(-1) / estimand.dim
            allowed = _COOL if rung < rungs else _COLD
            if float(virial.mean() - virial.std() / math.sqrt(chains)) <= allowed or deadline.expired:
                break
        w = state.position
        if deadline.expired:
            break
    return w
