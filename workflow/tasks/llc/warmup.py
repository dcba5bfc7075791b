"""From the localiser's Gaussian to equilibrated chains, in coordinates in which the posterior is round.

Chains start annealed; then HMC runs in windows, each of which learns coordinates from the one before it,
until the virial identity E[z . grad U] = dim says that they have arrived.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from workflow.clock import Deadline
from workflow.kernels import hmc
from workflow.kernels.adapt import DualAveraging
from workflow.kernels.metric import Metric, fit, isotropic
from workflow.kernels.stages import Stages
from workflow.tasks.llc.anneal import annealed
from workflow.tasks.llc.estimand import Estimand

_WINDOWS = (10, 15, 25, 40)
_MORE_WINDOWS = 4
_SETTLING = 12
_ANNEAL_SHARE = 0.5
"""Of the warm-up."""

_TRAJECTORY = 1.5
"""Length of a trajectory where every direction has unit scale: about a quarter of a period."""

_MOST_LEAPFROGS = 64
_ACCEPT = 0.8
_SPREAD = 6.0
_STUCK = 0.05
"""Share of hopeless proposals from which on step sizes are spread out."""

_ARRIVED = 0.03


class Arrived(NamedTuple):
    """Equilibrated chains ``(chains, dim)`` in coordinates that fit them, with HMC's settings there."""

    metric: Metric
    position: Tensor
    step_size: float
    spread: float
    n_steps: int


class _Warming(NamedTuple):
    """Where warm-up is."""

    at: Arrived
    windows: int
    ended: bool


def warm_up(estimand: Estimand, chains: int, stages: Stages, deadline: Deadline) -> Arrived:
    """Anneal, then run HMC in windows; two stages."""
    position = annealed(estimand, chains, stages, deadline.part(_ANNEAL_SHARE))
    metric = isotropic(estimand.centre, estimand.gamma**-0.5)
    start = Arrived(metric, position, 0.1 * estimand.dim**-0.25, 1.0, 0)
    window = _Window(estimand, stages.stream, deadline)
    warming = _Warming(start, 0, ended=False)
    return stages.through(partial(_next_window, window), warming, lambda state: state.ended).at


def _next_window(window: _Window, state: _Warming) -> _Warming:
    """Run one window, and learn from it unless it shows that the chains have arrived."""
    at, index = state.at, state.windows
    seen = window.run(at, _WINDOWS[min(index, len(_WINDOWS) - 1)])
    at = seen.after(at)
    if index + 1 >= len(_WINDOWS) and abs(seen.virial - 1.0) < _ARRIVED:
        return _Warming(at, index + 1, ended=True)
    dim = window.estimand.dim
    at = at._replace(
        metric=fit(seen.positions, seen.gradients, at.metric),
        step_size=min(1.0, 2.0 * at.step_size) if index else 0.5 * dim**-0.25,
    )
    if window.deadline.expired:  # these coordinates are new: their step size is still to be found
        half = Deadline(0.5 * window.deadline.budget_sec, window.deadline.now)
        at = _Window(window.estimand, window.generator, half).run(at, _SETTLING).after(at)
        return _Warming(at, index + 1, ended=True)
    return _Warming(at, index + 1, ended=index + 1 == len(_WINDOWS) + _MORE_WINDOWS)


class _Seen(NamedTuple):
    """What a window saw; positions and gradients ``(draws, dim)`` of its last three quarters."""

    position: Tensor
    positions: Tensor
    gradients: Tensor
    step_size: float
    stuck: float
    virial: float
    n_steps: int

    def after(self, at: Arrived) -> Arrived:
        """Return where the chains are now."""
        return at._replace(
            position=self.position,
            step_size=self.step_size,
            spread=_SPREAD if self.stuck > _STUCK else at.spread,
            n_steps=at.n_steps + self.n_steps,
        )


@dataclass(frozen=True)
class _Window:
    """Runs HMC in given coordinates while the step size settles."""

    estimand: Estimand
    generator: Generator
    deadline: Deadline

    def run(self, at: Arrived, n_steps: int) -> _Seen:
        """Take *n_steps* draws, or as many as the deadline allows."""
        metric, step_size = at.metric, at.step_size
        potential = metric.potential(self.estimand.energy)
        rule = DualAveraging(_ACCEPT)
        rule.restart(step_size)
        state = hmc.init(metric.coordinates(at.position), self.generator, potential=potential)
        kept, stuck, virials, done = [state], [], [], 0
        for done in range(1, n_steps + 1):
            settings = trajectories(metric, step_size, at.spread)
            state, info = hmc.step(state, self.generator, potential=potential, params=settings)
            step_size = rule.update(info)
            stuck.append(float((info.acceptance < 0.05).double().mean()))
            virials.append(float((state.position * state.gradient).sum(-1).mean()) / self.estimand.dim)
            if done > n_steps // 4:
                kept.append(state)
            if self.deadline.expired:
                break
        kept = kept[1:] or [state]
        later = slice(done // 2, None)
        return _Seen(
            metric.position(state.position),
            torch.cat([metric.position(entry.position) for entry in kept]),
            torch.cat([metric.pushed(entry.gradient) for entry in kept]),
            rule.final(),
            _mean(stuck[later]),
            _mean(virials[later]),
            done,
        )


def trajectories(metric: Metric, step_size: float, spread: float) -> hmc.Params:
    """Return settings of HMC whose trajectories are about a quarter of a period long."""
    leapfrogs = max(1, min(_MOST_LEAPFROGS, round(_TRAJECTORY / step_size)))
    return hmc.Params(step_size, torch.ones_like(metric.sd), leapfrogs, spread)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
