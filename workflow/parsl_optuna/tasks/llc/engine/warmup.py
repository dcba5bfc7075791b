"""Warm-up of `auto`: from the prior to equilibrated chains, in coordinates that fit the posterior.

Chains start annealed, those of large networks as draws of the prior. Then kinetic Langevin dynamics runs in
adaptation windows, each of which learns coordinates for the next one, until the virial identity
E[z . grad U] = dim holds and the loss has stopped changing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import langevin, random_reshuffling
from parsl_optuna.kernels.metric import Metric, fit, isotropic
from parsl_optuna.kernels.types import Potential
from parsl_optuna.tasks.llc.answer.control_variates import LossCoordinates, loss_coordinates
from parsl_optuna.tasks.llc.answer.observables import observed
from parsl_optuna.tasks.llc.engine.kinks import has_kinks, tested
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.start import annealed, from_both_sides, prior_draws, tempered_examples
from parsl_optuna.tasks.llc.problem.curvature import largest_curvatures
from parsl_optuna.tasks.llc.problem.estimand import Estimand

FIRST_WINDOW, GROWTH = 64, 1.5
"""Steps of the first adaptation window, and factor to the next: 300 steps in 3 windows, 4,800 in 9."""

_FEWEST_WINDOWS, _MOST_WINDOWS = 3, 9
"""Windows: the second one learns from the first, the third shows whether that changed the loss."""

_ANNEAL_SHARE = 0.5
"""Of the warm-up's budget, at most."""

_ANNEALED = 5000
"""Parameters from which on windows do all the cooling.

Annealing takes longer trajectories the more parameters there are, and windows that follow it cool a large
network more slowly than they cool draws of the prior (measured: 8,731 parameters are at the loss of the
posterior after 8 s rather than 19). With few parameters annealing is what gives flat arms their length.
"""

_STEP = 1.2
"""Step of BAOAB, in units of 1 / sqrt(largest curvature); it is stable up to 2 (Leimkuhler & Matthews
2013).
"""

_WIDEST = 1000.0
"""Width of the prior in steps of the cooling, from which on windows cool faster: they learn coordinates."""

DECORRELATIONS, _DECORRELATIONS_HOT = 0.7, 3.0
"""Momentum decorrelation times per window, at least: of annealed chains, and of chains that start hot.

More cool hot chains at every scale in turn; fewer let flat arms be explored: intervals for w1^2 w2^2 cover in
95 % of runs with 0.7, in 92 % with 3 (measured).
"""

_KEPT = 40
"""Draws of a window that are looked at: enough for means, and looking costs no more than the steps."""

_CHECKED = 16
"""Steps after which rejection thresholds are estimated anew, from energy errors of the last 64 steps."""

_WORTH = 1.25
"""Factor by which low-rank components must lengthen the step: they add two products with a basis to each."""

_ARRIVED, _STEADY = 0.03, 2.0
"""Largest error of the virial ratio, and change of the loss in standard errors, of chains that have arrived.

The second is needed too: where the loss grows with a high power of the distance, hot chains that are too near
to w* have the right virial.
"""


class Arrived(NamedTuple):
    """Equilibrated chains ``(chains, dim)``, their coordinates, and which of these the loss determines."""

    metric: Metric
    loss_coordinates: LossCoordinates
    position: Tensor
    n_steps: int


class _Warming(NamedTuple):
    """Where warm-up is; *excess* ``(chains,)`` is the mean of t (L - L0) over the last window."""

    at: Arrived
    excess: Tensor
    windows: int
    ended: bool


def warm_up(
    estimand: Estimand, chains: int, stages: Stages, deadline: Deadline, *, sparing: bool = False
) -> Arrived:
    """Anneal small models, then run adaptation windows; a stage each.

    Args:
        estimand: What the chains will sample.
        chains: How many.
        stages: Source of randomness, and where progress is kept.
        deadline: When it expires, coordinates are what they are.
        sparing: Whether windows of large models use minibatches, and half of their chains start near w*.
    """
    sparing = sparing and is_large(estimand)
    if estimand.dim < _ANNEALED:
        position = annealed(estimand, chains, stages, deadline.part(_ANNEAL_SHARE), _WIDEST)
        decorrelations = DECORRELATIONS
    else:
        starts = from_both_sides if sparing else prior_draws
        position, decorrelations = starts(estimand, chains, stages.stream), _DECORRELATIONS_HOT
    nothing = LossCoordinates(estimand.centre, torch.zeros_like(estimand.centre))
    start = Arrived(isotropic(estimand.centre, estimand.gamma**-0.5), nothing, position, 0)
    window = Window(estimand, stages.stream, deadline, decorrelations, sparing)
    warming = _Warming(start, torch.full_like(position[:, 0], torch.inf), 0, ended=False)
    return stages.run(partial(_next_window, window), warming, lambda state: state.ended).at


def is_large(estimand: Estimand) -> bool:
    """Whether a sparing warm-up uses minibatches, and starts from both sides."""
    return estimand.dim >= _ANNEALED and estimand.target.loss.has_data


def _next_window(window: Window, state: _Warming) -> _Warming:
    """Run one window, and learn coordinates from it unless it shows that the chains have arrived."""
    at, windows = state.at, state.windows + 1
    n_steps = round(FIRST_WINDOW * GROWTH**state.windows)
    seen = window.hot(at, n_steps) if window.sparing and not state.windows else window.run(at, n_steps)
    found = loss_coordinates(seen.positions, window.estimand.gamma, window.estimand.centre)
    at = at._replace(loss_coordinates=found, position=seen.position, n_steps=at.n_steps + seen.n_steps)
    is_steady = abs(seen.virial - 1.0) < _ARRIVED and _is_steady(seen.excess - state.excess)
    if windows >= _FEWEST_WINDOWS and is_steady:
        return _Warming(at, seen.excess, windows, ended=True)
    learned = fit(seen.positions, seen.gradients, at.metric)
    metric = worthwhile(window.energy, learned, seen.position, window.generator)
    ended = window.deadline.expired or windows == _MOST_WINDOWS
    return _Warming(at._replace(metric=metric), seen.excess, windows, ended)


def _is_steady(differences: Tensor) -> bool:
    """Whether the chains' differences between two windows are what chance makes them."""
    error = float(differences.std()) / math.sqrt(len(differences)) if len(differences) > 1 else math.inf
    return abs(float(differences.mean())) <= _STEADY * error


class Seen(NamedTuple):
    """Draws of a window: positions and gradients ``(draws, dim)`` and mean *excess* of its later part."""

    position: Tensor
    positions: Tensor
    gradients: Tensor
    excess: Tensor
    virial: float
    n_steps: int


@dataclass(frozen=True)
class Window:
    """Runs kinetic Langevin dynamics for at least so many *decorrelations* of its momenta.

    If *sparing*, on minibatches: chains that are far from equilibrium need no better, and later windows, on
    minibatches without replacement, differ little from the posterior. Steps are stable at positions *also*
    ``(n, dim)``, too; where these are given, every step is tested if the gradient of the loss jumps.
    """

    estimand: Estimand
    generator: Generator
    deadline: Deadline
    decorrelations: float
    sparing: bool = False
    also: Tensor | None = None

    @property
    def energy(self) -> Potential:
        """U, or U on some examples, whose stiffest direction is hardly less stiff, if *sparing*."""
        some = tempered_examples(self.estimand)
        if not self.sparing or some >= self.estimand.n:
            return self.estimand.energy
        return self.estimand.tempered(self.estimand.t, self.estimand.drawn(some, self.generator))

    def hot(self, at: Arrived, n_steps: int) -> Seen:
        """Take the steps of the first window on some of the examples: chains are far above any loss."""
        return self._whole(at, n_steps, self.energy)

    def run(self, at: Arrived, n_steps: int) -> Seen:
        """Take *n_steps* steps, or as many as the deadline allows."""
        count = self.estimand.n // tempered_examples(self.estimand) if self.sparing else 1
        if count > 1:
            return self._parts(at, n_steps, count)
        return self._whole(at, n_steps, self.estimand.energy)

    def _motion(self, metric: Metric, energy: Potential, z: Tensor, n_steps: int) -> langevin.Motion:
        stable_at = z if self.also is None else torch.cat([z, metric.coordinates(self.also)])
        size = stable_step(metric.potential(energy), stable_at, self.generator)
        return langevin.Motion(size, max(friction(z), self.decorrelations / (n_steps * size)))

    def _whole(self, at: Arrived, n_steps: int, energy: Potential) -> Seen:
        """Take steps with the gradient of *energy*."""
        potential = at.metric.potential(energy)
        z = at.metric.coordinates(at.position)
        motion = self._motion(at.metric, energy, z, n_steps)
        settings = langevin.Params(
            motion.step_size, motion.friction, rejection_threshold=math.sqrt(self.estimand.dim)
        )
        state = langevin.init(z, self.generator, potential=potential)
        is_tested = self.also is not None and has_kinks(potential, settings, [state], self.generator)
        if is_tested:
            settings = tested(potential, settings, state, self.generator)
        kept, changes, done = [state], [], 0
        every = max(1, n_steps // _KEPT)
        for done in range(1, n_steps + 1):
            state, info = langevin.step(state, self.generator, potential=potential, params=settings)
            changes = [*changes[1 - 4 * _CHECKED :], info.energy_change]
            if done % _CHECKED == 0 and not is_tested:
                settings = replace(
                    settings, rejection_threshold=langevin.rejection_threshold(torch.stack(changes))
                )
            if done % every == 0:
                kept.append(state)
            if self.deadline.expired:
                break
        return self._seen(at.metric, kept if len(kept) > 1 else [state], state.position, done)

    def _parts(self, at: Arrived, n_steps: int, count: int) -> Seen:
        """Take steps with the gradients of *count* minibatches in turn; look at all data once per epoch."""
        metric, generator = at.metric, self.generator
        parts = [metric.potential(part) for part in self.estimand.parts(count, generator)]
        energies = random_reshuffling.Energies(parts, metric.potential(self.estimand.energy))
        z = metric.coordinates(at.position)
        motion = self._motion(metric, self.energy, z, n_steps)
        settings = random_reshuffling.Params(motion.step_size, motion.friction, count)
        state = random_reshuffling.init(z, generator, energies=energies)
        kept, changes, done = [_on_all(state)], [], 0
        for _ in range(n_steps):
            state, info = random_reshuffling.step(state, generator, energies=energies, params=settings)
            done += 1
            if state.steps == 0:
                kept.append(_on_all(state))
                changes = [*changes[1 - _CHECKED :], info.energy_change]
                threshold = langevin.rejection_threshold(torch.stack(changes))
                settings = replace(settings, rejection_threshold=threshold)
            if self.deadline.expired:
                break
        return self._seen(metric, kept, state.at.position, done)

    def _seen(self, metric: Metric, kept: list[langevin.State], last: Tensor, done: int) -> Seen:
        """Return what the states *kept* show, but for the first quarter of them."""
        n_later = len(kept) - len(kept) // 2
        kept = kept[1 + len(kept) // 4 :] or kept[-1:]
        positions = [metric.position(entry.position) for entry in kept]
        seen = [
            observed(self.estimand, w, entry.potential, (entry.position * entry.gradient).sum(-1))
            for w, entry in zip(positions, kept, strict=True)
        ]
        virials = [float(entry["virial"].mean()) for entry in seen[-n_later:]]
        return Seen(
            metric.position(last),
            torch.cat(positions),
            torch.cat([metric.pushed(entry.gradient) for entry in kept]),
            torch.stack([entry["excess"] for entry in seen]).mean(0),
            sum(virials) / len(virials) / self.estimand.dim,
            done,
        )


def _on_all(state: random_reshuffling.State) -> langevin.State:
    """Return the last state that was looked at on all data."""
    seen = state.seen
    return langevin.State(seen.position, seen.momentum, seen.energy, seen.full_gradient)


def worthwhile(energy: Potential, metric: Metric, position: Tensor, generator: Generator) -> Metric:
    """Return *metric*, without its low-rank components where they hardly lengthen a step.

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
    """Return the friction: the rate at which momenta decorrelate.

    A direction of width 1 relaxes fastest at a rate of 1, a wide one at one over its width; where no
    coordinates make a posterior round, both occur. The power -1/4 is nearer to 1: energy that wide directions
    release on their way heats the others, and has to be taken from them.
    """
    width = float(z.std(0).median()) if len(z) > 1 else 1.0
    return max(1.0, width) ** -0.25  # 1.0 first: a width of nan is none
