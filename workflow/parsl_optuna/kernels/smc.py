"""Sequential Monte Carlo: groups of particles from a reference to the target, and the evidence of each.

Del Moral, Doucet & Jasra (2006), J. R. Stat. Soc. B 68, 411. Temperatures follow the conditional effective
sample size (Zhou, Johansen & Aston 2016, arXiv:1303.3123). Particles are moved by Hamiltonian Monte Carlo
until they have forgotten where they were (Buchholz, Chopin & Jacob 2021, arXiv:1808.07730).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.kernels import hmc, metric
from parsl_optuna.kernels.chain import Expiring
from parsl_optuna.kernels.metric import Metric
from parsl_optuna.kernels.types import Potential

_ACCEPT = 0.7
"""Target acceptance: between 0.65, optimal for long trajectories (Beskos et al. 2013), and Stan's 0.8."""

_FASTEST = 1.2
"""Largest factor on the step size after one move."""

_TRAJECTORY, _MOST_LEAPFROGS = 1.5, 64
"""Length of a trajectory where every direction has unit scale, about a quarter of a period, and its most
steps.
"""

_JITTER, _SPREAD = 1.0, 6.0
"""Exponent ranges of step sizes, against resonances, and where particles get stuck."""

_HOPELESS, _STUCK = 0.05, 0.05
"""A proposal with an acceptance below the first is hopeless; from the second share of them on, sizes are
spread.
"""

_CHANCE = 3.5
"""Standard deviations of a correlation of independent numbers, beyond which hardly one of thousands lies."""

_BISECTIONS = 50


class Bridge(NamedTuple):
    """Densities exp(-(1 - s) R - s U) from a reference, s = 0, to the target, s = 1.

    Attributes:
        reference: R and its gradient.
        target: U and its gradient.
    """

    reference: Potential
    target: Potential

    def at(self, temperature: float) -> Potential:
        """Return the energy at *temperature* s."""

        def energy(w: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
            value, gradient = self.target(w, generator)
            first, slope = self.reference(w, generator)
            rest = 1.0 - temperature
            return temperature * value + rest * first, temperature * gradient + rest * slope

        return energy if temperature < 1.0 else self.target


@dataclass(frozen=True)
class Params:
    """Settings of a bridge.

    Args:
        groups: Populations, which are resampled one by one; all have as many particles.
        kept: Conditional effective sample size of a temperature, relative to the particles.
        forgotten: Largest correlation of the particles with where they were, at which moves end.
        most_moves: Moves of a temperature at most.
        is_whole: Whether coordinates are to be forgotten too, or the energy alone.
    """

    groups: int
    kept: float = 0.7
    forgotten: float = 0.5
    most_moves: int = 20
    is_whole: bool = True


class Point(NamedTuple):
    """An energy ``(particles,)`` and its gradient ``(particles, dim)``."""

    energy: Tensor
    gradient: Tensor


class State(NamedTuple):
    """Where a bridge is.

    Attributes:
        position: ``(particles, dim)``, group by group.
        reference: R there.
        target: U there.
        temperature: s.
        log_evidence: Of each group, ln of the mean of its weights so far, ``(groups,)``.
        metric: Coordinates in which particles move.
        step_size: Of the leapfrog steps in these.
        spread: `hmc.Params.spread`.
        moves: Of all temperatures so far.
        correlation: Of the particles with where they were before the last moves, largest over directions.
    """

    position: Tensor
    reference: Point
    target: Point
    temperature: float
    log_evidence: Tensor
    metric: Metric
    step_size: float
    spread: float
    moves: int
    correlation: float


def init(position: Tensor, generator: Generator, *, bridge: Bridge, params: Params, start: Metric) -> State:
    """Begin with independent draws of the reference.

    Args:
        position: ``(particles, dim)``, group by group.
        generator: Source of randomness.
        bridge: From where to where.
        params: Settings.
        start: Coordinates of the reference; its centre is that of all later ones.
    """
    reference = Point(*bridge.reference(position, generator))
    target = _finite(Point(*bridge.target(position, generator)))
    evidence = position.new_zeros(params.groups)
    size = 0.5 * position.shape[1] ** -0.25
    return State(position, reference, target, 0.0, evidence, start, size, _JITTER, 0, 0.0)


def step(state: State, generator: Generator, *, bridge: Bridge, params: Params, deadline: Expiring) -> State:
    """Raise the temperature, resample every group, learn coordinates and move the particles."""
    ratio = (state.target.energy - state.reference.energy).unflatten(0, (params.groups, -1))
    raised = _raised(ratio, 1.0 - state.temperature, params.kept)
    temperature = 1.0 if state.temperature + raised > 1.0 - 1e-9 else state.temperature + raised
    log_weights = -(temperature - state.temperature) * ratio
    evidence = state.log_evidence + log_weights.logsumexp(1) - math.log(ratio.shape[1])
    chosen = resampled(log_weights, generator)
    position = state.position[chosen]
    reference, target = (
        Point(*(part[chosen] for part in point)) for point in (state.reference, state.target)
    )
    gradient = temperature * target.gradient + (1.0 - temperature) * reference.gradient
    learnt = metric.fit(position, gradient, state.metric)
    state = State(
        position,
        reference,
        target,
        temperature,
        evidence,
        learnt,
        state.step_size,
        state.spread,
        state.moves,
        1.0,
    )
    return forget(state, generator, bridge=bridge, params=params, deadline=deadline)


def forget(
    state: State, generator: Generator, *, bridge: Bridge, params: Params, deadline: Expiring
) -> State:
    """Move particles at their temperature until they have forgotten where they are, or have moved enough.

    The step size follows the acceptance of all particles. Each particle and move shrinks it at random, over a
    wider range where many proposals are hopeless.
    """
    mine, s = state.metric, state.temperature
    energy = s * state.target.energy + (1.0 - s) * state.reference.energy
    gradient = s * state.target.gradient + (1.0 - s) * state.reference.gradient
    chains = hmc.State(mine.coordinates(state.position), energy, mine.pulled(gradient))
    potential, size, spread = mine.potential(bridge.at(s)), state.step_size, state.spread
    begun, done, correlation = chains, 0, 1.0
    while done < params.most_moves and correlation > params.forgotten and not (done and deadline.expired):
        chains, info = hmc.step(chains, generator, potential=potential, params=settings(size, spread, mine))
        size *= min(_FASTEST, math.exp(float(info.acceptance.mean()) - _ACCEPT))
        hopeless = float((info.acceptance < _HOPELESS).double().mean())
        spread = _SPREAD if hopeless > _STUCK else _JITTER
        done += 1
        correlation = remembered(begun, chains, is_whole=params.is_whole)
    position = mine.position(chains.position)
    reference = Point(*bridge.reference(position, generator))
    moved = Point(chains.potential, mine.pushed(chains.gradient))
    target = Point(*((at - (1.0 - s) * first) / s for at, first in zip(moved, reference, strict=True)))
    return state._replace(
        position=position,
        reference=reference,
        target=target,
        step_size=size,
        spread=spread,
        moves=state.moves + done,
        correlation=correlation,
    )


def settings(size: float, spread: float, mine: Metric) -> hmc.Params:
    """Return how particles move: trajectories of about a quarter of a period."""
    leapfrogs = max(1, min(_MOST_LEAPFROGS, round(_TRAJECTORY / size)))
    return hmc.Params(size, torch.ones_like(mine.sd), leapfrogs, spread)


def remembered(before: hmc.State, after: hmc.State, *, is_whole: bool) -> float:
    """Return the largest correlation of particles with where they were, beyond chance.

    It is of the energy; of the *whole* also of coordinates, of their squares and of the distance.
    """
    pairs = zip(_seen(before, is_whole), _seen(after, is_whole), strict=True)
    largest = torch.stack([_correlation(one, other).max() for one, other in pairs]).max()
    return max(0.0, float(largest) - _CHANCE / math.sqrt(len(before.potential)))


def resampled(log_weights: Tensor, generator: Generator) -> Tensor:
    """Return which particles go on, by systematic resampling of every group ``(groups, particles)``.

    Where no particle of a group has a weight all of them stay.
    """
    groups, size = log_weights.shape
    weights = torch.where(torch.isfinite(log_weights), log_weights, -torch.inf).softmax(1)
    weights = torch.where(torch.isfinite(weights), weights, 1.0 / size)
    shift = torch.rand(groups, 1, generator=generator, dtype=weights.dtype, device=weights.device)
    marks = (torch.arange(size, device=weights.device) + shift) / size
    chosen = torch.searchsorted(weights.cumsum(1), marks).clamp(max=size - 1)
    return (chosen + size * torch.arange(groups, device=weights.device).unsqueeze(1)).flatten()


def _raised(ratio: Tensor, most: float, kept: float) -> float:
    """Return by how much to raise s, *most* at most: U - R are *ratio* ``(groups, particles)``."""
    finite = torch.isfinite(ratio)
    alive = finite.any(1)
    if not bool(alive.any()):
        return most
    ratio, finite = ratio[alive], finite[alive]
    count = finite.sum(1)
    centred = ratio - torch.where(finite, ratio, torch.inf).amin(1, keepdim=True)

    def size(change: float) -> float:
        weights = torch.where(finite, (-change * centred).exp(), 0.0)
        return float((weights.sum(1).square() / weights.square().sum(1) / count).mean())

    if size(most) >= kept:
        return most
    low, high = math.log(most) - _BISECTIONS, math.log(most)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if size(math.exp(middle)) >= kept else (low, middle)
    return math.exp(low)


def _finite(point: Point) -> Point:
    """Make an energy that is no number infinite: such a particle has no weight."""
    return Point(torch.where(torch.isnan(point.energy), torch.inf, point.energy), point.gradient)


def _seen(at: hmc.State, is_whole: bool) -> tuple[Tensor, ...]:
    """Return what particles may remember, each ``(particles, columns)``."""
    if not is_whole:
        return (at.potential.unsqueeze(1),)
    squares = at.position.square()
    return at.position, squares, torch.stack([at.potential, squares.sum(1)], dim=1)


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    """Return the correlations of columns; 0 where a column does not vary."""
    one, other = one - one.mean(0), other - other.mean(0)
    size = (one.square().sum(0) * other.square().sum(0)).sqrt()
    found = (one * other).sum(0) / size
    return torch.where(torch.isfinite(found), found, 0.0)
