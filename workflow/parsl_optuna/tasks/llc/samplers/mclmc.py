"""Microcanonical Langevin Monte Carlo, unadjusted or with a Metropolis test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from parsl_optuna.core.space import Dimension, Float, Int
from parsl_optuna.tasks.llc.samplers.base import CHAINS, Method, check_fraction, check_positive, later

if TYPE_CHECKING:
    from torch import Tensor

    from parsl_optuna.kernels import adapt, mclmc
    from parsl_optuna.kernels.types import Kernel
    from parsl_optuna.tasks.base import Metrics, Work
    from parsl_optuna.tasks.llc.answer import verdict
    from parsl_optuna.tasks.llc.engine import fixed
    from parsl_optuna.tasks.llc.engine.stages import Stages
    from parsl_optuna.tasks.llc.problem.estimand import Estimand
else:
    adapt, mclmc = later("kernels.adapt", "kernels.mclmc")
    verdict, fixed = later("tasks.llc.answer.verdict", "tasks.llc.engine.fixed")

_MOST_STEPS = 64.0
"""Steps of an adjusted trajectory at most: a step size that has not settled must not stall the warm-up."""

_SMALLEST = 1e-6
"""Smallest step of the unadjusted sampler, in units of sqrt(dim) standard deviations; no posterior needs
less.
"""

_EXCESS = 10.0
"""Energy variance of the draws over its target, from which on the bias of an unadjusted sampler is not
tolerated.
"""


@dataclass(frozen=True)
class Params:
    """Microcanonical Langevin Monte Carlo.

    *step_size* (first guess of the adaptation) and *L* are in units of sqrt(dim) posterior standard
    deviations; *L* null is 1. A *target_accept* asks for the Metropolis-adjusted variant; null is
    unadjusted, with the step adapted to *energy_variance* (per dimension; 5e-4 explores, 1e-6 keeps the bias
    of the LLC below 1 %). *steps* counts integrator steps, *warmup* draws: of the adjusted variant
    trajectories of L / step_size steps each.
    """

    chains: int = 4
    step_size: float = 0.1
    L: float | None = 1.0
    target_accept: float | None = 0.9
    energy_variance: float = 1e-6
    steps: int = 10_000
    warmup: int = 300

    def __post_init__(self) -> None:
        check_positive(self, "chains", "step_size", "energy_variance", "steps")
        if self.L is not None:
            check_positive(self, "L")
        if self.target_accept is not None:
            check_fraction(self, "target_accept")


def space(n: int) -> dict[str, Dimension]:
    """Return the default search space."""
    del n
    return {
        "chains": CHAINS,
        "step_size": Float(1e-2, 0.5, log=True),
        "target_accept": Float(0.6, 0.95),
        "L": Float(0.3, 3.0),
        "steps": Int(5000, 20000, step=1000),
    }


def run(estimand: Estimand, params: Params, stages: Stages, work: Work) -> Metrics:
    """Adapt the step to the acceptance (adjusted) or the energy error (unadjusted), then draw."""
    unit = math.sqrt(estimand.dim)
    length = unit * (1.0 if params.L is None else params.L)
    rule: adapt.StepRule
    if params.target_accept is not None:
        adjusted, rule = True, adapt.DualAveraging(params.target_accept)
    else:
        adjusted, rule = False, adapt.EnergyVariance(params.energy_variance, estimand.dim)

    def make(step_size: float, variances: Tensor) -> Kernel[mclmc.State]:
        return mclmc.build(estimand.energy, mclmc.Params(step_size, length, variances.sqrt(), adjusted))

    bounds = (length / _MOST_STEPS if adjusted else _SMALLEST * unit, length)
    plan = adapt.Plan(params.warmup, params.step_size * unit, estimand.start_variances(), bounds)
    sampling = fixed.Fixed(estimand, stages, work.deadline)
    warm = sampling.warm_up(adapt.WarmUp(make, rule, plan), sampling.start(params.chains))
    per_draw = max(1, round(length / warm.step_size)) if adjusted else 1
    n_draws = max(params.steps // per_draw, 1)
    _, trace = sampling.draws(make(warm.step_size, warm.variances), warm.state, n_draws)
    settings = {"step_size": warm.step_size, "L": length, "steps_per_draw": per_draw}
    limit = None if adjusted else _EXCESS * params.energy_variance
    nature = verdict.Nature(is_exact=adjusted, energy_limit=limit)
    return sampling.summarise(trace, warm.n_steps, settings, nature)


METHOD = Method(Params, space, run, extends="steps")
