"""From the localiser's Gaussian to equilibrated chains, in coordinates in which the posterior is round.

Chains start annealed, those of large networks hot; then kinetic Langevin dynamics runs in windows, each of
which learns coordinates from the one before it, until the virial identity E[z . grad U] = dim and a steady
loss say that they have arrived.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import langevin
from parsl_optuna.kernels.metric import Metric, fit, isotropic
from parsl_optuna.kernels.types import Potential
from parsl_optuna.tasks.llc.answer.control_variates import Held, held_by_loss
from parsl_optuna.tasks.llc.answer.observables import observed
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.start import annealed, localised
from parsl_optuna.tasks.llc.problem.curvature import largest_curvatures
from parsl_optuna.tasks.llc.problem.estimand import Estimand

_FIRST_WINDOW = 64
"""Steps; each window is half as long again as the one before it."""

_FEWEST_WINDOWS, _MOST_WINDOWS = 3, 9
_ANNEAL_SHARE = 0.5
"""Of the warm-up."""

_ANNEALED = 5000
"""Parameters from which on windows do all the cooling.

Annealing takes longer trajectories the more parameters there are, and windows that follow it cool a large
network more slowly than they cool hot chains. With few parameters it is what gives flat arms their length.
"""

_STEP = 1.2
"""Of the kinetic Langevin scheme, in units of 1 / sqrt(largest curvature); it is stable up to 2."""

_STIFFEST = 1000.0
"""Localiser's width in steps of the cooling, from which on windows cool better: they learn coordinates."""

_FORGOTTEN, _FORGOTTEN_HOT = 0.7, 3.0
"""Times that momenta are forgotten in a window, at least, of annealed chains and of hot ones."""

_KEPT = 40
"""Draws of a window that are looked at."""

_JUDGED = 16
"""Steps after which energy errors are judged by those of the last four times as many."""

_WORTH = 1.25
"""Factor by which a few stretched directions must lengthen the step, to be worth what they cost in each."""

_ARRIVED, _STEADY = 0.03, 2.0
"""Largest error of the virial ratio, and change of the loss in standard errors, of chains that have arrived.

Where the loss grows with a high power of the distance, hot chains too near w* have the right virial.
"""


class Arrived(NamedTuple):
    """Equilibrated chains ``(chains, dim)``, coordinates that fit them, and what the loss holds of them."""

    metric: Metric
    held: Held
    position: Tensor
    n_steps: int


class _Warming(NamedTuple):
    """Where warm-up is; *excess* ``(chains,)`` is what the last window saw of t (L - L0)."""

    at: Arrived
    excess: Tensor
    windows: int
    ended: bool


def warm_up(estimand: Estimand, chains: int, stages: Stages, deadline: Deadline) -> Arrived:
    """Anneal if that pays, then run windows; a stage each."""
    if estimand.dim < _ANNEALED:
        position = annealed(estimand, chains, stages, deadline.part(_ANNEAL_SHARE), _STIFFEST)
        forgotten = _FORGOTTEN
    else:
        position, forgotten = localised(estimand, chains, stages.stream), _FORGOTTEN_HOT
    nothing = Held(estimand.centre, torch.zeros_like(estimand.centre))
    start = Arrived(isotropic(estimand.centre, estimand.gamma**-0.5), nothing, position, 0)
    window = _Window(estimand, stages.stream, deadline, forgotten)
    warming = _Warming(start, torch.full_like(position[:, 0], torch.inf), 0, ended=False)
    return stages.run(partial(_next_window, window), warming, lambda state: state.ended).at


def _next_window(window: _Window, state: _Warming) -> _Warming:
    """Run one window, and learn from it unless it shows that the chains have arrived."""
    at, windows = state.at, state.windows + 1
    seen = window.run(at, round(_FIRST_WINDOW * 1.5**state.windows))
    held = held_by_loss(seen.positions, window.estimand.gamma, window.estimand.centre)
    at = at._replace(held=held, position=seen.position, n_steps=at.n_steps + seen.n_steps)
    is_steady = abs(seen.virial - 1.0) < _ARRIVED and _is_steady(seen.excess - state.excess)
    if windows >= _FEWEST_WINDOWS and is_steady:
        return _Warming(at, seen.excess, windows, ended=True)
    learned = fit(seen.positions, seen.gradients, at.metric)
    metric = worthwhile(window.estimand.energy, learned, seen.position, window.generator)
    ended = window.deadline.expired or windows == _MOST_WINDOWS
    return _Warming(at._replace(metric=metric), seen.excess, windows, ended)


def _is_steady(differences: Tensor) -> bool:
    """Whether the chains' differences between two windows are what chance makes them."""
    error = float(differences.std()) / math.sqrt(len(differences)) if len(differences) > 1 else math.inf
    return abs(float(differences.mean())) <= _STEADY * error


class _Seen(NamedTuple):
    """What a window saw; positions and gradients ``(draws, dim)`` and *excess* of its later part."""

    position: Tensor
    positions: Tensor
    gradients: Tensor
    excess: Tensor
    virial: float
    n_steps: int


@dataclass(frozen=True)
class _Window:
    """Runs kinetic Langevin dynamics in given coordinates, where momenta are *forgotten* so many times."""

    estimand: Estimand
    generator: Generator
    deadline: Deadline
    forgotten: float

    def run(self, at: Arrived, n_steps: int) -> _Seen:
        """Take *n_steps* steps, or as many as the deadline allows."""
        metric = at.metric
        potential = metric.potential(self.estimand.energy)
        z = metric.coordinates(at.position)
        size = stable_step(potential, z, self.generator)
        rate = max(friction(z), self.forgotten / (n_steps * size))
        settings = langevin.Params(size, rate, rejection_threshold=math.sqrt(self.estimand.dim))
        state = langevin.init(z, self.generator, potential=potential)
        kept, changes, done = [state], [], 0
        every = max(1, n_steps // _KEPT)
        for done in range(1, n_steps + 1):
            state, info = langevin.step(state, self.generator, potential=potential, params=settings)
            changes = [*changes[1 - 4 * _JUDGED :], info.energy_change]
            if done % _JUDGED == 0:
                settings = replace(
                    settings, rejection_threshold=langevin.rejection_threshold(torch.stack(changes))
                )
            if done % every == 0:
                kept.append(state)
            if self.deadline.expired:
                break
        judged = len(kept) - len(kept) // 2
        kept = kept[1 + len(kept) // 4 :] or [state]
        positions = [metric.position(entry.position) for entry in kept]
        seen = [
            observed(self.estimand, w, entry.potential, (entry.position * entry.gradient).sum(-1))
            for w, entry in zip(positions, kept, strict=True)
        ]
        virials = [float(entry["virial"].mean()) for entry in seen[-judged:]]
        return _Seen(
            metric.position(state.position),
            torch.cat(positions),
            torch.cat([metric.pushed(entry.gradient) for entry in kept]),
            torch.stack([entry["excess"] for entry in seen]).mean(0),
            sum(virials) / len(virials) / self.estimand.dim,
            done,
        )


def worthwhile(energy: Potential, metric: Metric, position: Tensor, generator: Generator) -> Metric:
    """Return *metric*, without its stretched directions where they are few and hardly lengthen a step.

    Args:
        energy: U of positions.
        metric: Coordinates.
        position: Of the chains, ``(chains, dim)``.
        generator: Source of randomness.
    """
    if len(metric.stretch) in (0, position.shape[1]):
        return metric
    plain = metric.plain()
    longer, shorter = (
        stable_step(each.potential(energy), each.coordinates(position), generator) for each in (metric, plain)
    )
    return metric if longer > _WORTH * shorter else plain


def stable_step(potential: Potential, z: Tensor, generator: Generator) -> float:
    """Return the step of kinetic Langevin dynamics that the stiffest direction of the chains allows."""
    stiffest = float(largest_curvatures(potential, z, generator).max())
    return _STEP / math.sqrt(max(1.0, stiffest))  # 1.0 first: a curvature of nan is none


def friction(z: Tensor) -> float:
    """Return the rate at which momenta are forgotten.

    Directions as wide as the unit relax fastest at 1, wide ones at one over their width; where coordinates
    cannot be found in which a posterior is round, both occur. This is nearer to 1: what wide directions
    release on their way heats the others, and has to leave them.
    """
    width = float(z.std(0).median()) if len(z) > 1 else 1.0
    return max(1.0, width) ** -0.25  # 1.0 first: a width of nan is none
