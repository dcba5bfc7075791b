"""What draws: HMC, kinetic Langevin or SGLD, with settings found where warm-up ended."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workflow.clock import Deadline
from workflow.kernels import hmc, langevin, sgld
from workflow.kernels.adapt import DualAveraging
from workflow.kernels.metric import Metric
from workflow.kernels.stages import Stages
from workflow.kernels.types import Kernel
from workflow.tasks.llc.curvature import largest_curvature
from workflow.tasks.llc.estimand import Estimand
from workflow.tasks.llc.warmup import Arrived, observed, stable_step

_SETTLING = 64
_REJECTED = 0.03
"""Share of rejected steps up to which a Langevin chain is kept exact."""

_FORGETTING = 6.0
"""Time in which momenta of the exact law become those of the scheme, which are colder: 1 - (step / 2)^2."""

_RECORDED = 0.3
"""Time between draws, where every direction has unit scale: nothing changes much in less."""

_MOST_APART = 16
"""Steps between draws at most."""

_TRAJECTORY = 1.5
"""Length of a trajectory where every direction has unit scale: about a quarter of a period."""

_MOST_LEAPFROGS = 64
_TUNING = (10, 15, 25)
"""Draws after which the search for HMC's step size starts anew from what it has found."""

_ACCEPT = 0.8
_SPREAD = 6.0
_STUCK = 0.05
"""Share of hopeless proposals from which on step sizes are spread out."""

_SGLD_FRACTION = 0.25
"""Of the stability limit 4 / lambda_max, where the Leimkuhler-Matthews scheme has hardly any bias."""

_SGLD_NOISE = 0.0025
"""Largest relative inflation of variances by minibatch noise."""

_SGLD_EVERY = 10
_SGLD_BATCH = 256


class Run(NamedTuple):
    """What draws, how often to record, what was chosen, and how many steps to drop first."""

    kernel: Kernel[Any]
    state: Any
    every: int
    observe: Callable[[Any, Any], dict[str, Tensor]]
    settings: dict[str, Any]
    burn_in: int = 0


def by_hmc(estimand: Estimand, arrived: Arrived, stages: Stages, deadline: Deadline) -> Run:
    """Hamiltonian Monte Carlo at an acceptance of 0.8, tuned as a stage of its own."""
    metric = arrived.metric
    potential = metric.potential(estimand.energy)
    state = hmc.init(metric.coordinates(arrived.position), stages.stream, potential=potential)

    def advance(at: _Tuning) -> _Tuning:
        rule = DualAveraging(_ACCEPT)
        rule.restart(at.step_size)
        state, step_size, stuck = at.chains, at.step_size, []
        for _ in range(_TUNING[at.rounds]):
            settings = _trajectories(metric, step_size, at.spread)
            state, info = hmc.step(state, stages.stream, potential=potential, params=settings)
            step_size = rule.update(info)
            stuck.append(float((info.acceptance < 0.05).double().mean()))
            if deadline.expired:
                break
        later = stuck[len(stuck) // 2 :]
        spread = _SPREAD if sum(later) / len(later) > _STUCK else at.spread
        return _Tuning(state, rule.final(), spread, len(_TUNING) if deadline.expired else at.rounds + 1)

    begin = _Tuning(state, 0.5 * estimand.dim**-0.25, 1.0, 0)
    tuned = stages.through(advance, begin, lambda at: at.rounds == len(_TUNING))
    settings = _trajectories(metric, tuned.step_size, tuned.spread)
    told = {
        "step_size": tuned.step_size,
        "leapfrog_steps": settings.leapfrog_steps,
        "spread": tuned.spread,
    }
    kernel = hmc.build(potential, settings)
    return Run(kernel, tuned.chains, 1, partial(_on_all_data, estimand, metric), told)


class _Tuning(NamedTuple):
    """Where the search for HMC's step size is."""

    chains: hmc.State
    step_size: float
    spread: float
    rounds: int


def _trajectories(metric: Metric, step_size: float, spread: float) -> hmc.Params:
    """Return settings of HMC whose trajectories are about a quarter of a period long."""
    leapfrogs = max(1, min(_MOST_LEAPFROGS, round(_TRAJECTORY / step_size)))
    return hmc.Params(step_size, torch.ones_like(metric.sd), leapfrogs, spread)


def by_langevin(estimand: Estimand, arrived: Arrived, stages: Stages, deadline: Deadline) -> Run:
    """Kinetic Langevin dynamics, at a step that the stiffest direction allows.

    Exact where hardly a step is rejected; elsewhere bulk errors of the energy pass untested and only what
    is out of line is turned back, as it would heat a chain.
    """
    del deadline
    metric, generator = arrived.metric, stages.stream
    potential = metric.potential(estimand.energy)
    z = metric.coordinates(arrived.position)
    size = stable_step(potential, z, generator)
    settings = langevin.Params(size, friction=_friction(z))
    kernel = langevin.build(potential, settings)
    state, changes, rejected = kernel.init(z, generator), [], []
    for _ in range(_SETTLING):
        state, info = kernel.step(state, generator)
        changes.append(info.energy_change)
        rejected.append(1.0 - info.acceptance)
    is_exact = float(torch.stack(rejected).mean()) <= _REJECTED
    settings = replace(settings, slack=0.0 if is_exact else langevin.tolerance(torch.stack(changes)))
    kernel = langevin.build(potential, settings)
    every = min(_MOST_APART, max(1, round(_RECORDED / size)))
    burn_in = math.ceil(_FORGETTING / (settings.friction * size))
    return Run(kernel, state, every, partial(_on_all_data, estimand, metric), asdict(settings), burn_in)


def _friction(z: Tensor) -> float:
    """Return the rate at which momenta are forgotten.

    Directions as wide as the unit relax fastest at 1, wide ones at one over their width; where coordinates
    cannot be found in which a posterior is round, both occur, and this is the geometric mean.
    """
    width = float(z.std(0).median()) if len(z) > 1 else 1.0
    return max(1.0, width) ** -0.5  # 1.0 first: a width of nan is none


def by_sgld(estimand: Estimand, arrived: Arrived, stages: Stages, deadline: Deadline) -> Run:
    """SGLD on minibatches, at a step that curvature and the noise of minibatches allow."""
    del deadline
    metric, generator, batch = arrived.metric, stages.stream, min(_SGLD_BATCH, estimand.n)
    potential = metric.potential(estimand.stochastic_energy(batch))
    z = metric.coordinates(arrived.position)
    stiffest = largest_curvature(metric.potential(estimand.energy), z, generator)
    noise = float((potential(z, generator)[1] - potential(z, generator)[1]).square().mean()) / 2.0
    size = min(4.0 * _SGLD_FRACTION / stiffest, 4.0 * _SGLD_NOISE / max(noise, 1e-300))
    kernel = sgld.build(potential, potential, sgld.Params(size))
    told = {"step_size": size, "largest_curvature": stiffest, "batch": batch}
    return Run(kernel, kernel.init(z, generator), _SGLD_EVERY, partial(_on_batch, estimand, metric), told)


def _on_all_data(
    estimand: Estimand, metric: Metric, before: Any, after: hmc.State | langevin.State
) -> dict[str, Tensor]:
    del before
    return observed(estimand, metric, after)


def _on_batch(estimand: Estimand, metric: Metric, before: sgld.State, after: sgld.State) -> dict[str, Tensor]:
    w = metric.position(before.position)
    return {
        "excess": estimand.excess(w),
        "radius": estimand.radius(w),
        "virial": (before.position * after.gradient).sum(-1),
    }
