"""Hamiltonian Monte Carlo: the reference of every study, and a sampler of `auto`. Exact, on all data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from parsl_optuna.core.space import Dimension, Float, Int
from parsl_optuna.tasks.llc.samplers.base import Automatic, Method, check_fraction, check_positive, later

if TYPE_CHECKING:
    from torch import Tensor

    from parsl_optuna.kernels import adapt, hmc
    from parsl_optuna.kernels.metric import Metric
    from parsl_optuna.kernels.types import Kernel
    from parsl_optuna.tasks.base import Metrics, Work
    from parsl_optuna.tasks.llc.answer import observables
    from parsl_optuna.tasks.llc.engine import draw, fixed
    from parsl_optuna.tasks.llc.engine.stages import Stages
    from parsl_optuna.tasks.llc.engine.warmup import Arrived
    from parsl_optuna.tasks.llc.problem.estimand import Estimand
else:
    adapt, hmc, observables = later("kernels.adapt", "kernels.hmc", "tasks.llc.answer.observables")
    draw, fixed = later("tasks.llc.engine.draw", "tasks.llc.engine.fixed")

_TRAJECTORY = 1.5
"""Length of a trajectory where every direction has unit scale: about a quarter of a period, pi/2."""

_MOST_LEAPFROGS = 64
"""Leapfrog steps of a trajectory at most: a step size that has not settled must not stall the tuning."""

_TUNING = (10, 15, 25)
"""Draws after which the search for the step size of `auto` starts anew from what it has found: the last are
enough to average an acceptance to 0.05."""

_ACCEPT = 0.8
"""Target acceptance of `auto`, Stan's default; 0.65 is optimal for independent coordinates (Beskos et al.
2013).
"""

_SPREAD = 6.0
"""Exponent range of step sizes where chains get stuck: factors 2^-6 to 1, for curvatures that differ
4,000-fold.
"""

_HOPELESS, _STUCK = 0.05, 0.05
"""A proposal with an acceptance below the first is hopeless; from the second share of them on, sizes are
spread.
"""


@dataclass(frozen=True)
class Params:
    """Hamiltonian Monte Carlo: the reference has 4 chains of 10,000 draws.

    *leapfrog_steps* is the mean per draw, *warmup* and *draws* count per chain. A run that fails the gate of
    a reference is extended up to *max_draws* per chain while its budget lasts.
    """

    chains: int = 4
    draws: int = 10_000
    warmup: int = 2_000
    leapfrog_steps: int = 16
    target_accept: float = 0.8
    max_draws: int = 100_000

    def __post_init__(self) -> None:
        check_positive(self, "chains", "draws", "leapfrog_steps")
        check_fraction(self, "target_accept")


def space(n: int) -> dict[str, Dimension]:
    """Return the default search space."""
    del n
    return {
        "target_accept": Float(0.6, 0.95),
        "leapfrog_steps": Int(4, 64, log=True),
        "draws": Int(1000, 10000, step=1000),
    }


def run(estimand: Estimand, params: Params, stages: Stages, work: Work) -> Metrics:
    """Anneal, adapt and draw; while the reference gate fails and budget is left, mend.

    Divergences call for a shorter step and new draws, anything else for more draws.
    """

    def make(step_size: float, variances: Tensor) -> Kernel[hmc.State]:
        return hmc.build(estimand.energy, hmc.Params(step_size, variances, params.leapfrog_steps))

    sampling = fixed.Fixed(estimand, stages, work.deadline)
    # At a given acceptance, steps of an exact sampler shrink as dim^(-1/4) (Beskos et al. 2013).
    plan = adapt.Plan(params.warmup, 0.5 * estimand.dim**-0.25, estimand.start_variances())
    warm_up = adapt.WarmUp(make, adapt.DualAveraging(params.target_accept), plan)
    position = sampling.start(params.chains)
    return sampling.until_passed(warm_up, position, params.draws, params.max_draws, params.leapfrog_steps)


METHOD = Method(Params, space, run, extends="draws")


def build(estimand: Estimand, arrived: Arrived, stages: Stages, goal: draw.Goal) -> draw.Run:
    """Tune the step size to an acceptance of 0.8, as a stage of its own."""
    metric = arrived.metric
    potential = metric.potential(estimand.energy)
    rule = adapt.DualAveraging(_ACCEPT)

    def advance(at: _Tuning) -> _Tuning:
        state, size, memory, hopeless = at.chains, at.step_size, rule.start(at.step_size), []
        for _ in range(_TUNING[at.rounds]):
            settings = _trajectories(metric, size, at.spread)
            state, info = hmc.step(state, stages.stream, potential=potential, params=settings)
            memory, size = rule.update(memory, info)
            hopeless.append(float((info.acceptance < _HOPELESS).double().mean()))
            if goal.deadline.expired:
                break
        later_half = hopeless[len(hopeless) // 2 :]
        spread = _SPREAD if sum(later_half) / len(later_half) > _STUCK else at.spread
        rounds = len(_TUNING) if goal.deadline.expired else at.rounds + 1
        return _Tuning(state, rule.final(memory), spread, rounds)

    state = hmc.init(metric.coordinates(arrived.position), stages.stream, potential=potential)
    begin = _Tuning(state, 0.5 * estimand.dim**-0.25, 1.0, 0)
    tuned = stages.run(advance, begin, lambda at: at.rounds == len(_TUNING))
    settings = _trajectories(metric, tuned.step_size, tuned.spread)
    chosen = {
        "step_size": tuned.step_size,
        "leapfrog_steps": settings.leapfrog_steps,
        "spread": tuned.spread,
    }
    observer = observables.Observer(estimand, metric, arrived.loss_coordinates)
    kernel = hmc.build(potential, settings)
    return draw.Run(kernel, tuned.chains, 1, observer.all_data, observer.known, chosen, is_exact=True)


class _Tuning(NamedTuple):
    """Where the search for the step size is."""

    chains: hmc.State
    step_size: float
    spread: float
    rounds: int


def _trajectories(metric: Metric, step_size: float, spread: float) -> hmc.Params:
    """Return settings whose trajectories are about a quarter of a period long."""
    leapfrogs = max(1, min(_MOST_LEAPFROGS, round(_TRAJECTORY / step_size)))
    return hmc.Params(step_size, metric.sd.new_ones(metric.sd.shape), leapfrogs, spread)


AUTOMATIC = Automatic(build, warm_up_share=0.4)
