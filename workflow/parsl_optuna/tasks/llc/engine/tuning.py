"""The step size of a Metropolis-tested sampler: dual averaging from where warm-up ended, as a stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import adapt, hmc
from parsl_optuna.kernels.types import Kernel, Potential
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.warmup import Arrived
from parsl_optuna.tasks.llc.problem.estimand import Estimand

_PARTS = (0.2, 0.3, 0.5)
"""Parts of the tuning, after which the search for the step size starts anew from what it has found."""

_SPREAD = 6.0
"""Exponent range of step sizes where chains get stuck: factors 2^-6 to 1, for curvatures that differ
4,000-fold.
"""

JITTER = 1.0
"""Exponent range of step sizes otherwise, against resonances."""

_HOPELESS, _STUCK = 0.05, 0.05
"""A proposal with an acceptance below the first is hopeless; from the second share of them on, sizes are
spread.
"""


class Settings(NamedTuple):
    """How to tune: to which acceptance, and in how many draws."""

    accept: float
    draws: int


class Tuned(NamedTuple):
    """Where the search is: chains in the coordinates of warm-up, and `hmc.Params` for the next draw."""

    chains: hmc.State
    step_size: float
    spread: float
    rounds: int


KernelOf = Callable[[Potential, float, float, Tensor], Kernel[hmc.State]]
"""``(U, step size, spread, a tensor of the shape of a position) -> kernel``."""


def tune(
    estimand: Estimand,
    arrived: Arrived,
    kernel_of: KernelOf,
    settings: Settings,
    stages: Stages,
    deadline: Deadline,
) -> Tuned:
    """Search for the step size until the deadline at most; sizes are spread where chains get stuck."""
    metric = arrived.metric
    potential = metric.potential(estimand.energy)
    rule = adapt.DualAveraging(settings.accept)

    def advance(at: Tuned) -> Tuned:
        state, size, memory, hopeless = at.chains, at.step_size, rule.start(at.step_size), []
        for _ in range(max(1, round(_PARTS[at.rounds] * settings.draws))):
            state, info = kernel_of(potential, size, at.spread, metric.sd).step(state, stages.stream)
            memory, size = rule.update(memory, info)
            hopeless.append(float((info.acceptance < _HOPELESS).double().mean()))
            if deadline.expired:
                break
        later_half = hopeless[len(hopeless) // 2 :]
        spread = _SPREAD if sum(later_half) / len(later_half) > _STUCK else at.spread
        rounds = len(_PARTS) if deadline.expired else at.rounds + 1
        return Tuned(state, rule.final(memory), spread, rounds)

    state = hmc.init(metric.coordinates(arrived.position), stages.stream, potential=potential)
    begin = Tuned(state, 0.5 * estimand.dim**-0.25, JITTER, 0)
    return stages.run(advance, begin, lambda at: at.rounds == len(_PARTS))
