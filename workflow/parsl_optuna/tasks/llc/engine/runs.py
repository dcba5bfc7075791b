"""What draws: HMC, kinetic Langevin (on all data or parts of it) or SGLD, set up where warm-up ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import hmc, langevin, reshuffled, sgld
from parsl_optuna.kernels.adapt import DualAveraging
from parsl_optuna.kernels.metric import Metric
from parsl_optuna.kernels.types import Kernel
from parsl_optuna.tasks.llc.answer.observables import Observer
from parsl_optuna.tasks.llc.engine.minibatches import measured, part_count
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.warmup import Arrived, friction, stable_step
from parsl_optuna.tasks.llc.problem.curvature import largest_curvatures
from parsl_optuna.tasks.llc.problem.estimand import Estimand

_SETTLING, _LOOKED_AT = 64, 8
"""Steps before drawing, and of which each so many-th one is looked at."""

_REJECTED = 0.03
"""Share of rejected steps up to which a Langevin chain is kept exact."""

_WARMER = 0.001
"""Relative excess of the kinetic energy over that of the scheme that does no harm any more."""

_RECORDED = 0.3
"""Time between draws, where every direction has unit scale: nothing changes much in less."""

_MOST_APART = 16
"""Steps between draws at most."""

_JUDGED = 8
"""Times that the energy of chains on parts of the data is looked at before its errors are judged by these."""

_STEPS_PER_PART = 3
"""Steps between draws at least, per part of the data: a draw looks at all of them."""

_TRAJECTORY = 1.5
"""Length of a trajectory where every direction has unit scale: about a quarter of a period."""

_MOST_LEAPFROGS = 64
_TUNING = (10, 15, 25)
"""Draws after which the search for HMC's step size starts anew from what it has found."""

_ACCEPT = 0.8
_SPREAD = 6.0
_STUCK = 0.05
"""Share of hopeless proposals from which on step sizes are spread out."""

_SGLD_FRACTION = (0.4, 0.5)
"""Of the stability limit 4 / lambda_max; less where curvatures differ, as chains come to stiffer places yet.

The Leimkuhler-Matthews scheme has hardly any bias up to there.
"""

_NOISE_SHARE = 0.5
"""Of the error that is wanted, what the noise of minibatches may add to the LLC at most."""

_SGLD_EVERY, _OBSERVED = 10, 0.7
"""Steps between draws at least, and times that they go through the data; a draw costs half as much."""

_PROBED, _FEWEST_EXAMPLES = 256, 32
"""Examples by which the noise of minibatches is measured, and the fewest in one."""


class Goal(NamedTuple):
    """What is wanted: a relative standard error, until when to tune, and a factor on untested steps."""

    relative_error: float
    deadline: Deadline
    shortened: float = 1.0


class Run(NamedTuple):
    """What draws.

    Attributes:
        kernel: The kernel.
        state: Of its chains.
        every: Steps per record.
        observe: What to record.
        known: What some of that is on average.
        settings: What was chosen.
        burn_in: Steps to drop first.
        heat: What noise is expected to add to the LLC, relative to it.
    """

    kernel: Kernel[Any]
    state: Any
    every: int
    observe: Callable[[Any, Any], dict[str, Tensor]]
    known: Mapping[str, float]
    settings: dict[str, Any]
    burn_in: int = 0
    heat: float = 0.0


def by_hmc(estimand: Estimand, arrived: Arrived, stages: Stages, goal: Goal) -> Run:
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
            if goal.deadline.expired:
                break
        later = stuck[len(stuck) // 2 :]
        spread = _SPREAD if sum(later) / len(later) > _STUCK else at.spread
        return _Tuning(state, rule.final(), spread, len(_TUNING) if goal.deadline.expired else at.rounds + 1)

    begin = _Tuning(state, 0.5 * estimand.dim**-0.25, 1.0, 0)
    tuned = stages.through(advance, begin, lambda at: at.rounds == len(_TUNING))
    settings = _trajectories(metric, tuned.step_size, tuned.spread)
    told = {
        "step_size": tuned.step_size,
        "leapfrog_steps": settings.leapfrog_steps,
        "spread": tuned.spread,
    }
    kernel = hmc.build(potential, settings)
    observer = Observer(estimand, metric, arrived.held)
    return Run(kernel, tuned.chains, 1, observer.all_data, observer.known, told)


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


def by_langevin(estimand: Estimand, arrived: Arrived, stages: Stages, goal: Goal) -> Run:
    """Kinetic Langevin dynamics, at a step that the stiffest direction allows.

    Exact where hardly a step is rejected; elsewhere bulk errors of the energy pass untested and only what
    is out of line is turned back, as it would heat a chain. There a step may also do with a part of the data.
    """
    metric, generator = arrived.metric, stages.stream
    observer = Observer(estimand, metric, arrived.held)
    potential = metric.potential(estimand.energy)
    z = metric.coordinates(arrived.position)
    size = stable_step(potential, z, generator)
    settings = langevin.Params(size, friction=friction(z))
    settled = _settled(langevin.build(potential, settings), z, generator)
    if settled.rejected > _REJECTED:
        run = _in_parts(observer, settled.states, settings, goal, generator)
        if run is not None:
            return run
        settings = replace(settings, slack=langevin.tolerance(settled.changes))
    return Run(
        langevin.build(potential, settings),
        settled.states[-1],
        _apart(settings),
        observer.all_data,
        observer.known,
        _told(settings),
        burn_in=_forgotten(settings),
    )


class _Settled(NamedTuple):
    """What a few steps showed: some states, energy errors ``(steps, chains)``, and the share rejected."""

    states: list[langevin.State]
    changes: Tensor
    rejected: float


def _settled(kernel: Kernel[langevin.State], z: Tensor, generator: Generator) -> _Settled:
    state, states, infos = kernel.init(z, generator), [], []
    for done in range(1, _SETTLING + 1):
        state, info = kernel.step(state, generator)
        infos.append(info)
        if done % _LOOKED_AT == 0:
            states.append(state)
    acceptance = torch.stack([info.acceptance for info in infos])
    changes = torch.stack([info.energy_change for info in infos])
    return _Settled(states, changes, 1.0 - float(acceptance.mean()))


def _in_parts(
    observer: Observer,
    states: list[langevin.State],
    motion: langevin.Motion,
    goal: Goal,
    generator: Generator,
) -> Run | None:
    """Return what draws by steps on parts of the data, if those cost less."""
    estimand, metric = observer.estimand, observer.metric
    noise = measured(estimand, metric, states, generator)
    if noise is None:
        return None
    typical = abs(float(torch.cat([observer.all_data(None, state)["excess"] for state in states]).mean()))
    count = part_count(noise, motion, goal.relative_error * typical)
    if count == 1:
        return None
    parts = [metric.potential(part) for part in estimand.parts(count, generator)]
    energies = reshuffled.Energies(parts, metric.potential(estimand.energy))
    every = max(_apart(motion), _STEPS_PER_PART * count)
    every += every % count == 0  # so that draws see every phase of an epoch
    params = reshuffled.Params(motion.step_size, motion.friction, every)
    state, changes = _tried(reshuffled.build(energies, params), states[-1].position, generator)
    params = replace(params, slack=langevin.tolerance(changes))
    heat = noise.heat(count, motion) / typical
    burn_in = params.every * math.ceil(_forgotten(motion) / params.every)
    kernel, told = reshuffled.build(energies, params), {**_told(params), "parts": count, "heat": heat}
    return Run(kernel, state, params.every, observer.parts, observer.known, told, burn_in, heat)


def _tried(
    kernel: Kernel[reshuffled.State], z: Tensor, generator: Generator
) -> tuple[reshuffled.State, Tensor]:
    """Return the state after a few looks at the energy, and the errors ``(looks, chains)`` seen."""
    state, changes = kernel.init(z, generator), []
    while len(changes) < _JUDGED:
        state, info = kernel.step(state, generator)
        if state.steps == 0:
            changes.append(info.energy_change)
    return state, torch.stack(changes)


def _told(params: langevin.Params | reshuffled.Params) -> dict[str, Any]:
    """Return what was chosen; of the chains' slacks the largest."""
    return {**asdict(params), "slack": float(torch.as_tensor(params.slack).max())}


def _apart(motion: langevin.Motion) -> int:
    """Return steps between draws."""
    return min(_MOST_APART, max(1, round(_RECORDED / motion.step_size)))


def _forgotten(motion: langevin.Motion) -> int:
    """Return steps in which momenta of the exact law become those of the scheme: 1 - (step / 2)^2 as warm."""
    colder = 0.25 * motion.step_size**2
    return math.ceil(max(0.0, math.log(colder / _WARMER)) / (motion.friction * motion.step_size))


def by_sgld(estimand: Estimand, arrived: Arrived, stages: Stages, goal: Goal) -> Run:
    """SGLD at a step that curvature allows, on minibatches as large as that step needs them."""
    metric, generator = arrived.metric, stages.stream
    z = metric.coordinates(arrived.position)
    curvatures = largest_curvatures(metric.potential(estimand.energy), z, generator)
    stiffest = float(curvatures.max())
    room = min(max(float(curvatures.median()) / stiffest, _SGLD_FRACTION[0]), _SGLD_FRACTION[1])
    room *= goal.shortened
    size = 4.0 * room / stiffest
    effective = size / (1.0 - room)  # noise lingers where a step hardly contracts
    batch, heat = _batch(estimand, metric, z, effective, _NOISE_SHARE * goal.relative_error, generator)
    potential = metric.potential(estimand.stochastic_energy(batch))
    kernel = sgld.build(potential, potential, sgld.Params(size))
    told = {"step_size": size, "largest_curvature": stiffest, "batch": batch, "heat": heat}
    every = max(_SGLD_EVERY, round(_OBSERVED * estimand.n / batch))
    observer = Observer(estimand, metric, arrived.held)
    return Run(kernel, kernel.init(z, generator), every, observer.batches, observer.known, told, heat=heat)


def _batch(
    estimand: Estimand, metric: Metric, z: Tensor, size: float, allowed: float, generator: Generator
) -> tuple[int, float]:
    """Return the fewest examples whose noise adds no more to the LLC than *allowed*, and what it adds.

    Both relative to the LLC. A variance s of gradients along a direction of curvature k widens it by
    size s / (4 - size k), relative to its width; half of that over all directions adds to the LLC.
    """
    if not estimand.target.loss.has_data:
        return estimand.n, 0.0
    examples = min(_PROBED, max(1, estimand.n // 2))
    probed = metric.potential(estimand.stochastic_energy(examples))
    noise = float((probed(z, generator)[1] - probed(z, generator)[1]).square().sum(-1).mean()) / 2.0
    typical = float(estimand.excess(metric.position(z)).mean())
    heat_of_one = examples * noise * size / 8.0 / typical if typical > 0 else math.inf
    batch = estimand.n
    if heat_of_one < allowed * estimand.n:
        batch = min(batch, max(_FEWEST_EXAMPLES, 2 ** math.ceil(math.log2(max(heat_of_one / allowed, 1.0)))))
    return batch, heat_of_one / batch if batch < estimand.n else 0.0
