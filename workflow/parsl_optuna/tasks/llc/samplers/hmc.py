"""Hamiltonian Monte Carlo: the reference of every study, and a sampler of `auto`. Exact, on all data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from parsl_optuna.core.space import Dimension, Float, Int
from parsl_optuna.tasks.llc.samplers.base import Automatic, Method, check_fraction, check_positive, later

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from parsl_optuna.kernels import hmc
    from parsl_optuna.kernels.types import Kernel, Potential
    from parsl_optuna.tasks.base import Metrics, Work
    from parsl_optuna.tasks.llc.answer import observables
    from parsl_optuna.tasks.llc.engine import draw, reference, sides, tuning
    from parsl_optuna.tasks.llc.engine.stages import Stages
    from parsl_optuna.tasks.llc.engine.warmup import Arrived
    from parsl_optuna.tasks.llc.problem.estimand import Estimand
else:
    torch, hmc, observables = later("torch", "kernels.hmc", "tasks.llc.answer.observables")
    draw, reference = later("tasks.llc.engine.draw", "tasks.llc.engine.reference")
    sides, tuning = later("tasks.llc.engine.sides", "tasks.llc.engine.tuning")

_TRAJECTORY = 1.5
"""Length of a trajectory where every direction has unit scale: about a quarter of a period, pi/2."""

_MOST_LEAPFROGS = 64
"""Leapfrog steps of a trajectory at most: a step size that has not settled must not stall the tuning."""

_TUNING_DRAWS = 50
"""Draws of the tuning in `auto`: the last 25 are enough to average an acceptance to 0.05."""

_TUNING_SHARE = 0.2
"""Of what is left of the budget of a reference after warm-up, at most; as in `auto`."""

_ACCEPT = 0.8
"""Target acceptance, Stan's default; 0.65 is optimal for independent coordinates (Beskos et al.
2013).
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
    settings = tuning.Settings(params.target_accept, params.warmup)
    kernel = partial(_kernel, params.leapfrog_steps)
    deadline = work.deadline.part(_TUNING_SHARE)
    tuned = tuning.tune(estimand, arrived, kernel, settings, stages, deadline)

    def build(factor: float) -> draw.Run:
        shorter = tuned._replace(step_size=factor * tuned.step_size)
        return _drawing(estimand, arrived, shorter, params.leapfrog_steps)

    length = reference.Length(params.draws, params.max_draws, params.relative_error)
    done = arrived.n_steps + params.warmup
    compare = sides.from_centre(estimand, arrived, stages, work.deadline)
    return reference.estimate(estimand, build, done, length, compare, stages, work.deadline)


METHOD = Method(Params, space, run, extends="draws")


def build(estimand: Estimand, arrived: Arrived, stages: Stages, goal: draw.Goal) -> draw.Run:
    """Tune the step size to an acceptance of 0.8, as a stage of its own."""
    settings, kernel = tuning.Settings(_ACCEPT, _TUNING_DRAWS), partial(_kernel, None)
    tuned = tuning.tune(estimand, arrived, kernel, settings, stages, goal.deadline)
    return _drawing(estimand, arrived, tuned, None)


def _drawing(
    estimand: Estimand, arrived: Arrived, tuned: tuning.Tuned, leapfrog_steps: int | None
) -> draw.Run:
    metric, step_size = arrived.metric, tuned.step_size
    leapfrogs = _leapfrogs(step_size) if leapfrog_steps is None else leapfrog_steps
    chosen = {"step_size": step_size, "leapfrog_steps": leapfrogs, "spread": tuned.spread}
    observer = observables.Observer(estimand, metric, arrived.loss_coordinates)
    kernel = _kernel(leapfrogs, metric.potential(estimand.energy), step_size, tuned.spread, metric.sd)
    return draw.Run(kernel, tuned.chains, 1, observer.all_data, observer.known, chosen, is_exact=True)


def _kernel(
    leapfrogs: int | None, potential: Potential, step_size: float, spread: float, like: Tensor
) -> Kernel[hmc.State]:
    """Return the kernel; trajectories are about a quarter of a period long unless *leapfrogs* are given."""
    leapfrogs = _leapfrogs(step_size) if leapfrogs is None else leapfrogs
    return hmc.build(potential, hmc.Params(step_size, torch.ones_like(like), leapfrogs, spread))


def _leapfrogs(step_size: float) -> int:
    return max(1, min(_MOST_LEAPFROGS, round(_TRAJECTORY / step_size)))


AUTOMATIC = Automatic(build, warm_up_share=0.4)
