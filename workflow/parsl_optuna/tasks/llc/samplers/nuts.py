"""The No-U-Turn sampler of `auto`: exact, on all data, with trajectories that end where they turn back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from parsl_optuna.tasks.llc.samplers.base import Automatic, later

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from parsl_optuna.kernels import hmc, nuts
    from parsl_optuna.kernels.types import Kernel, Potential
    from parsl_optuna.tasks.llc.answer import observables
    from parsl_optuna.tasks.llc.engine import draw, tuning
    from parsl_optuna.tasks.llc.engine.stages import Stages
    from parsl_optuna.tasks.llc.engine.warmup import Arrived
    from parsl_optuna.tasks.llc.problem.estimand import Estimand
else:
    torch, nuts, observables = later("torch", "kernels.nuts", "tasks.llc.answer.observables")
    draw, tuning = later("tasks.llc.engine.draw", "tasks.llc.engine.tuning")

_ACCEPT = 0.8
"""Target of the mean acceptance along a trajectory, Stan's default."""

_TUNING_DRAWS = 50
"""Draws of the tuning: the last 25 are enough to average an acceptance to 0.05."""

_TUNING_DOUBLINGS = 6
"""Of a trajectory of the tuning, at most: a step size that has not settled must not stall it."""

_SPREAD_DOUBLINGS = 5
"""Where sizes are spread over a factor of 64: short steps are to move a chain that long ones leave stuck, not
to go all the way. On w1^2 w2^2 trajectories of up to 63 leapfrog steps give 0.75 times as many effective
draws per gradient as those of up to 31 (measured).
"""


def build(estimand: Estimand, arrived: Arrived, stages: Stages, goal: draw.Goal) -> draw.Run:
    """Tune the step size to an acceptance of 0.8, as a stage of its own."""
    settings, kernel = tuning.Settings(_ACCEPT, _TUNING_DRAWS), partial(_kernel, _TUNING_DOUBLINGS)
    tuned = tuning.tune(estimand, arrived, kernel, settings, stages, goal.deadline)
    metric = arrived.metric
    chosen = {"step_size": tuned.step_size, "spread": tuned.spread}
    observer = observables.Observer(estimand, metric, arrived.loss_coordinates)
    potential = metric.potential(estimand.energy)
    doublings = _SPREAD_DOUBLINGS if tuned.spread > tuning.JITTER else nuts.MOST_DOUBLINGS
    kernel = _kernel(doublings, potential, tuned.step_size, tuned.spread, metric.sd)
    return draw.Run(kernel, tuned.chains, 1, observer.all_data, observer.known, chosen, is_exact=True)


def _kernel(
    doublings: int, potential: Potential, step_size: float, spread: float, like: Tensor
) -> Kernel[hmc.State]:
    return nuts.build(potential, nuts.Params(step_size, torch.ones_like(like), spread, doublings))


AUTOMATIC = Automatic(build, warm_up_share=0.4)
