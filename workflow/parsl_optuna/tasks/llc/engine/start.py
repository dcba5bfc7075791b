"""Annealed starts: draws of the localization prior, cooled until the loss counts fully.

Chains that start at w* have yet to diffuse along every flat direction, which is the slowest part of a run
and the one that biases it. Draws of the prior have the right width there from the beginning, and the loss
narrows only the directions it depends on (simulated annealing of a sampler; Neal 2001,
arXiv:physics/9803008).
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

_TEMPERATURES_PER_DECADE = 8
"""Each narrows the stiffest direction by 10^(1/16), 15 %: a trajectory of the last one still accepts."""

_REPEATS = 50
"""Trajectories per temperature at most; chains that have not cooled by then are better cooled by warm-up."""

_COOL, _COLD = 1.1, 1.01
"""Largest virial ratio, less its standard error, at which a temperature ends; the second of the last one."""

_ACCEPT = 0.7
"""Target acceptance: between 0.65, optimal for long trajectories (Beskos et al. 2013), and Stan's 0.8."""

_FASTEST = 1.2
"""Largest factor on a step size after one trajectory: one lucky acceptance must not decide."""

_OWN = 0.9
"""Weight of a chain's own log step size against the mean of all: none is left with a hopeless step."""

_LENGTH = 4.0
"""Leapfrog steps of a trajectory in one dimension; about half a period at the target acceptance."""

_HOTTEST = (6.0, 20.0)
"""Virial ratio of the hottest chain, above 1: standard deviations sqrt(2 / dim) of a Gaussian, and 1 /
dim.
"""

_FEWEST_EXAMPLES, _EXAMPLES_PER_T = 192, 1.5
"""Examples of a trajectory: with 1.5 t of them posteriors of different subsets overlap."""


_HALVINGS = 20
"""Of the way from w*, at most: a loss that is finite only within a millionth of the prior is not sampled."""


class _Cooling(NamedTuple):
    """Where the cooling is: temperatures done, positions ``(chains, dim)``, step sizes ``(chains, 1)``."""

    temperature: int
    position: Tensor
    sizes: Tensor


def prior_draws(estimand: Estimand, chains: int, generator: Generator) -> Tensor:
    """Draw positions ``(chains, dim)`` from the localization prior."""
    like = estimand.centre.expand(chains, -1)
    return estimand.centre + normal_like(like, generator) / math.sqrt(estimand.gamma)


def from_both_sides(estimand: Estimand, chains: int, generator: Generator) -> Tensor:
    """Draw positions ``(chains, dim)``: half near w*, the others from the localization prior.

    Where the posterior has parts between which chains hardly move, chains of one side alone would agree.
    """
    near = estimand.starts(chains // 2, generator)
    return torch.cat([near, prior_draws(estimand, chains - len(near), generator)])


def tempered_examples(estimand: Estimand, t: float | None = None) -> int:
    """Return of how many examples a trajectory takes the gradient, with a factor *t* on the loss."""
    return max(_FEWEST_EXAMPLES, math.ceil(_EXAMPLES_PER_T * (estimand.t if t is None else t)))


def annealed(
    estimand: Estimand, chains: int, stages: Stages, deadline: Deadline, stiffest: float = math.inf
) -> Tensor:
    """Draw starts ``(chains, dim)``.

    Each temperature raises the factor on the loss by 10^(1/8), from where the loss hardly counts up to t, and
    moves every chain by short trajectories until the virial identity E[(w - w*) . grad U] = dim holds: while
    chains are hotter than the target, the mean is above dim.

    Args:
        estimand: What the chains will sample.
        chains: How many.
        stages: Source of randomness, and where progress is kept.
        deadline: When it expires, the remaining temperatures are skipped.
        stiffest: They also are when the prior is as many median step sizes wide.
    """
    w, excess = _where_finite(estimand, prior_draws(estimand, chains, stages.stream))
    typical = float(excess.median()) / estimand.t if len(excess) else 0.0
    first = 1.0 / max(typical, 1.0 / estimand.t)
    n_temperatures = max(1, math.ceil(_TEMPERATURES_PER_DECADE * math.log10(estimand.t / first)))
    sizes = torch.full((chains, 1), 0.5 / math.sqrt(estimand.gamma), dtype=w.dtype, device=w.device)

    def cool(state: _Cooling) -> _Cooling:
        now = state.temperature + 1
        t = first * (estimand.t / first) ** (now / n_temperatures)
        allowed = _COOL if now < n_temperatures else _COLD
        w, sizes = _equilibrated(estimand, t, allowed, state, stages.stream, deadline)
        is_left = deadline.expired or float(sizes.median()) * stiffest * math.sqrt(estimand.gamma) < 1.0
        return _Cooling(n_temperatures if is_left else now, w, sizes)

    return stages.run(cool, _Cooling(0, w, sizes), lambda state: state.temperature >= n_temperatures).position


def _where_finite(estimand: Estimand, w: Tensor) -> tuple[Tensor, Tensor]:
    """Halve the way from w* to positions where the loss is infinite, or no number: no step leads from there.

    Also return t (L - L0) of those where it is finite in the end.
    """
    excess = estimand.excess(w)
    for _ in range(_HALVINGS):
        is_lost = ~torch.isfinite(excess)
        if not bool(is_lost.any()):
            break
        w = torch.where(is_lost.unsqueeze(1), 0.5 * (w + estimand.centre), w)
        excess = estimand.excess(w)
    return w, excess[torch.isfinite(excess)]


def _equilibrated(
    estimand: Estimand, t: float, allowed: float, start: _Cooling, generator: Generator, deadline: Deadline
) -> tuple[Tensor, Tensor]:
    """Move chains under a factor *t* on the loss until the virial is *allowed*; also return step sizes."""
    chains, sizes = len(start.position), start.sizes
    ones = torch.ones_like(estimand.centre)
    leapfrogs = max(1, round(_LENGTH * estimand.dim**0.25))  # steps shrink as dim^(-1/4)
    hottest = 1.0 + _HOTTEST[0] * math.sqrt(2.0 / estimand.dim) + _HOTTEST[1] / estimand.dim
    examples = tempered_examples(estimand, t)
    is_part = estimand.target.loss.has_data and examples < estimand.n

    def begin(position: Tensor) -> tuple[Potential, hmc.State]:
        rows = estimand.drawn(examples, generator) if is_part else None
        potential = estimand.tempered(t, rows)
        return potential, hmc.init(position, generator, potential=potential)

    potential, state = begin(start.position)
    for repeat in range(_REPEATS):
        if is_part and repeat:  # other examples for every trajectory
            potential, state = begin(state.position)
        settings = hmc.Params(sizes, ones, leapfrogs)
        state, info = hmc.step(state, generator, potential=potential, params=settings)
        sizes = sizes * (info.acceptance.unsqueeze(1) - _ACCEPT).exp().clamp(max=_FASTEST)
        sizes = (_OWN * sizes.log() + (1.0 - _OWN) * sizes.log().mean()).exp()
        virial = ((state.position - estimand.centre) * state.gradient).sum(-1) / estimand.dim
        is_cool = float(virial.mean() - virial.std() / math.sqrt(chains)) <= allowed
        if (is_cool and float(virial.max()) <= hottest) or deadline.expired:
            break
    return state.position, sizes
