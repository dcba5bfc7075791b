"""Hamiltonian Monte Carlo: the reference of every study, and a sampler of `auto`. Exact, on all data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from parsl_optuna.core.space import Dimension, Float, Int
from parsl_optuna.tasks.llc.samplers.base import Automatic, Method, check_fraction, check_positive, later

if TYPE_CHECKING:
    from parsl_optuna.core.clock import Deadline
    from parsl_optuna.kernels import adapt, hmc
    from parsl_optuna.kernels.metric import Metric
    from parsl_optuna.tasks.base import Metrics, Work
    from parsl_optuna.tasks.llc.answer import observables
    from parsl_optuna.tasks.llc.engine import draw, reference
    from parsl_optuna.tasks.llc.engine.stages import Stages
    from parsl_optuna.tasks.llc.engine.warmup import Arrived
    from parsl_optuna.tasks.llc.problem.estimand import Estimand
else:
    adapt, hmc, observables = later("kernels.adapt", "kernels.hmc", "tasks.llc.answer.observables")
    draw, reference = later("tasks.llc.engine.draw", "tasks.llc.engine.reference")

_TRAJECTORY = 1.5
"""Length of a trajectory where every direction has unit scale: about a quarter of a period, pi/2."""

_MOST_LEAPFROGS = 64
"""Leapfrog steps of a trajectory at most: a step size that has not settled must not stall the tuning."""

_TUNING, _TUNING_DRAWS = (0.2, 0.3, 0.5), 50
"""Parts of the tuning, after which the search for the step size starts anew from what it has found, and its
draws in `auto`: the last 25 are enough to average an acceptance to 0.05."""

_TUNING_SHARE = 0.2
"""Of what is left of the budget of a reference after warm-up, at most; as in `auto`."""

_ACCEPT = 0.8
"""Target acceptance, Stan's default; 0.65 is optimal for independent coordinates (Beskos et al.
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
    """Hamiltonian Monte Carlo: the reference has at least 4 chains of at most 10,000 draws each.

    *chains* null means 8 to 32, as many as one core moves in hardly more time than 4. Draws end at a
    standard error of *relative_error* times the LLC. *draws*, and *warmup*, which tune the step size, count
    per chain. *leapfrog_steps* is the mean per draw; null chooses it. A run that fails the gate of a
    reference after its *draws* is extended up to *max_draws* while its budget lasts.
    """

    chains: int | None = None
    draws: int = 10_000
    warmup: int = 100
    leapfrog_steps: int | None = None
    target_accept: float = _ACCEPT
    max_draws: int = 100_000
    relative_error: float = 0.005

    def __post_init__(self) -> None:
        check_positive(self, "draws", "warmup", "relative_error")
        check_positive(
            self, *(name for name in ("chains", "leapfrog_steps") if getattr(self, name) is not None)
        )
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
    """Anneal, learn coordinates, tune the step size, and draw until the gate and the error are reached."""
    arrived = reference.arrive(estimand, params.chains, stages, work.deadline)
    settings = _Settings(params.target_accept, params.warmup, params.leapfrog_steps)
    deadline = work.deadline.part(_TUNING_SHARE)
    tuned = _tuned(estimand, arrived, settings, stages, deadline)

    def build(factor: float) -> draw.Run:
        return _drawing(estimand, arrived, tuned._replace(step_size=factor * tuned.step_size), settings)

    length = reference.Length(params.draws, params.max_draws, params.relative_error)
    done = arrived.n_steps + params.warmup
    return reference.estimate(estimand, build, done, length, stages, work.deadline)


METHOD = Method(Params, space, run, extends="draws")


def build(estimand: Estimand, arrived: Arrived, stages: Stages, goal: draw.Goal) -> draw.Run:
    """Tune the step size to an acceptance of 0.8, as a stage of its own."""
    settings = _Settings(_ACCEPT, _TUNING_DRAWS, None)
    tuned = _tuned(estimand, arrived, settings, stages, goal.deadline)
    return _drawing(estimand, arrived, tuned, settings)


class _Settings(NamedTuple):
    """How to tune: acceptance, draws, and leapfrog steps of a trajectory, None where they follow the step."""

    accept: float
    draws: int
    leapfrog_steps: int | None


def _tuned(
    estimand: Estimand, arrived: Arrived, settings: _Settings, stages: Stages, deadline: Deadline
) -> _Tuning:
    metric = arrived.metric
    potential = metric.potential(estimand.energy)
    rule = adapt.DualAveraging(settings.accept)

    def advance(at: _Tuning) -> _Tuning:
        state, size, memory, hopeless = at.chains, at.step_size, rule.start(at.step_size), []
        for _ in range(max(1, round(_TUNING[at.rounds] * settings.draws))):
            trajectory = _trajectories(metric, size, at.spread, settings.leapfrog_steps)
            state, info = hmc.step(state, stages.stream, potential=potential, params=trajectory)
            memory, size = rule.update(memory, info)
            hopeless.append(float((info.acceptance < _HOPELESS).double().mean()))
            if deadline.expired:
                break
        later_half = hopeless[len(hopeless) // 2 :]
        spread = _SPREAD if sum(later_half) / len(later_half) > _STUCK else at.spread
        rounds = len(_TUNING) if deadline.expired else at.rounds + 1
        return _Tuning(state, rule.final(memory), spread, rounds)

    state = hmc.init(metric.coordinates(arrived.position), stages.stream, potential=potential)
    begin = _Tuning(state, 0.5 * estimand.dim**-0.25, 1.0, 0)
    return stages.run(advance, begin, lambda at: at.rounds == len(_TUNING))


def _drawing(estimand: Estimand, arrived: Arrived, tuned: _Tuning, settings: _Settings) -> draw.Run:
    metric = arrived.metric
    trajectory = _trajectories(metric, tuned.step_size, tuned.spread, settings.leapfrog_steps)
    chosen = {
        "step_size": tuned.step_size,
        "leapfrog_steps": trajectory.leapfrog_steps,
        "spread": tuned.spread,
    }
    observer = observables.Observer(estimand, metric, arrived.loss_coordinates)
    kernel = hmc.build(metric.potential(estimand.energy), trajectory)
    return draw.Run(kernel, tuned.chains, 1, observer.all_data, observer.known, chosen, is_exact=True)


class _Tuning(NamedTuple):
    """Where the search for the step size is."""

    chains: hmc.State
    step_size: float
    spread: float
    rounds: int


def _trajectories(metric: Metric, step_size: float, spread: float, leapfrogs: int | None) -> hmc.Params:
    """Return settings; trajectories are about a quarter of a period long unless *leapfrogs* are given."""
    if leapfrogs is None:
        leapfrogs = max(1, min(_MOST_LEAPFROGS, round(_TRAJECTORY / step_size)))
    return hmc.Params(step_size, metric.sd.new_ones(metric.sd.shape), leapfrogs, spread)


AUTOMATIC = Automatic(build, warm_up_share=0.4)
