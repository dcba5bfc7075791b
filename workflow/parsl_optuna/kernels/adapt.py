"""Warm-up: step size and scales, learned from all chains together.

Dual averaging: Hoffman & Gelman (2014), section 3.2, arXiv:1111.4246. Adaptation windows: Stan reference
manual, "HMC algorithm parameters". Energy-error rule: Robnik et al. (2023), arXiv:2212.08549, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Generator, Tensor

from parsl_optuna.kernels.types import Info, Kernel


class HasPosition(Protocol):
    """A state with the positions of its chains."""

    @property
    def position(self) -> Tensor:
        """``(chains, dim)``."""
        ...


S = TypeVar("S", bound=HasPosition)
Memory = tuple[float, ...]
"""What a `StepRule` remembers; plain numbers, so that it can be kept."""


class StepRule(Protocol):
    """Moves a step size by what the last step showed."""

    def start(self, step_size: float) -> Memory:
        """Return the memory of a rule that begins at *step_size*."""
        ...

    def update(self, memory: Memory, info: Info) -> tuple[Memory, float]:
        """Return the memory after a step, and the step size to try next."""
        ...

    def final(self, memory: Memory) -> float:
        """Return the step size to keep."""
        ...


@dataclass(frozen=True)
class DualAveraging:
    """Drives the mean acceptance of all chains to a target.

    Args:
        target: Wanted acceptance probability, in (0, 1).
    """

    target: float

    # Hoffman & Gelman (2014), section 3.2.1: their recommended gamma, t0, kappa, and the factor in mu =
    # log(10 e0).
    _GAMMA = 0.05
    _T0 = 10.0
    _KAPPA = 0.75
    _BIAS = 10.0

    def start(self, step_size: float) -> Memory:
        """Return mu, the averaged log step size, the averaged shortfall, and the number of steps."""
        return (math.log(self._BIAS * step_size), math.log(step_size), 0.0, 0.0)

    def update(self, memory: Memory, info: Info) -> tuple[Memory, float]:
        """Return the memory after a step, and the step size to try next."""
        mu, average, error, count = memory
        count += 1.0
        weight = 1.0 / (count + self._T0)
        error = (1 - weight) * error + weight * (self.target - float(info.acceptance.mean()))
        log_step = mu - math.sqrt(count) / self._GAMMA * error
        fade = count**-self._KAPPA
        return (mu, fade * log_step + (1 - fade) * average, error, count), math.exp(log_step)

    def final(self, memory: Memory) -> float:
        """Return the averaged step size."""
        return math.exp(memory[1])


@dataclass(frozen=True)
class EnergyVariance:
    """Drives the variance of the energy error per dimension to a target, using Var ~ step^6.

    Args:
        target: Wanted E[dE^2] / dim per step.
        dim: Number of parameters.
    """

    target: float
    dim: int

    # Steps that the running average remembers (Robnik et al. 2023; 150 is also BlackJAX's default).
    _MEMORY = 150.0
    # Largest change of the step size at once: one outlier among the energy errors must not decide.
    _SLOWEST, _FASTEST = 0.8, 1.25

    def start(self, step_size: float) -> Memory:
        """Return the step size, and the weighted sum of E[dE^2] / step^6 with its weight."""
        return (step_size, 0.0, 0.0)

    def update(self, memory: Memory, info: Info) -> tuple[Memory, float]:
        """Return the memory after a step, and the step size to try next; it halves when a chain diverges."""
        step, total, weight = memory
        if bool(info.diverged.any()):
            return self.start(0.5 * step), 0.5 * step
        fade = (self._MEMORY - 1) / (self._MEMORY + 1)
        error = float(info.energy_change.square().mean()) / self.dim
        total = fade * total + error / step**6
        weight = fade * weight + 1.0
        wanted = (self.target / max(total / weight, 1e-300)) ** (1 / 6)
        step = min(max(wanted, self._SLOWEST * step), self._FASTEST * step)
        return (step, total, weight), step

    def final(self, memory: Memory) -> float:
        """Return the step size reached."""
        return memory[0]


@dataclass(frozen=True)
class Plan:
    """How long to warm up, and from where.

    Args:
        n_steps: Steps in all; 0 keeps the initial values.
        step_size: First step size.
        variances: ``(dim,)`` first guess of the posterior variances, also the prior that every
            later estimate is shrunk towards.
        bounds: Smallest and largest step size to try; by default any that arithmetic allows.
    """

    n_steps: int
    step_size: float
    variances: Tensor
    bounds: tuple[float, float] = (1e-12, 1e12)

    def clamp(self, step_size: float) -> float:
        """Return the allowed step size nearest to *step_size*."""
        return min(max(step_size, self.bounds[0]), self.bounds[1])


class Moments(NamedTuple):
    """Mean and sum of squared deviations ``(dim,)`` over draws and chains, by Welford's update.

    Attributes:
        n_steps: Steps seen.
        n_positions: Positions seen, steps times chains.
        mean: ``(dim,)``.
        squares: ``(dim,)``.
    """

    n_steps: int
    n_positions: int
    mean: Tensor
    squares: Tensor


class Warming(NamedTuple, Generic[S]):
    """Where a warm-up is.

    Attributes:
        chains: State of the kernel.
        step_size: To try next.
        variances: ``(dim,)``, of the last adaptation window.
        memory: Of the step rule.
        window: Moments of the current adaptation window.
        grad_evals: Gradient evaluations of one chain.
        n_steps: Steps done.
    """

    chains: S
    step_size: float
    variances: Tensor
    memory: Memory
    window: Moments
    grad_evals: int
    n_steps: int


class WarmedUp(NamedTuple, Generic[S]):
    """What warm-up leaves behind; ``grad_evals`` are those of one chain."""

    state: S
    step_size: float
    variances: Tensor
    grad_evals: int
    n_steps: int


@dataclass(frozen=True)
class WarmUp(Generic[S]):
    """A kernel whose step size and scales are learned while it runs, pooled over chains.

    Args:
        make: Builds the kernel from a step size and the variances ``(dim,)``.
        rule: Moves the step size.
        plan: Lengths and first guesses.
    """

    make: Callable[[float, Tensor], Kernel[S]]
    rule: StepRule
    plan: Plan

    def start(self, position: Tensor, generator: Generator) -> Warming[S]:
        """Begin at *position* ``(chains, dim)``; one gradient per chain."""
        plan = self.plan
        size = plan.clamp(plan.step_size)
        chains = self.make(size, plan.variances).init(position, generator)
        return Warming(chains, size, plan.variances, self.rule.start(size), _empty(plan.variances), 1, 0)

    def step(self, at: Warming[S], generator: Generator) -> Warming[S]:
        """Make one step and learn from it."""
        plan, rule, ends = self.plan, self.rule, window_ends(self.plan.n_steps)
        chains, info = self.make(at.step_size, at.variances).step(at.chains, generator)
        memory, size = rule.update(at.memory, info)
        size, window, variances = plan.clamp(size), _with(at.window, chains.position), at.variances
        done = at.n_steps + 1
        if done in ends:
            variances, size = _shrunk(window, plan.variances), plan.clamp(rule.final(memory))
            memory, window = rule.start(size), _empty(plan.variances)
        elif done == min(ends, default=0) // 4:
            window = _empty(plan.variances)  # the way in from the start says nothing about the scales
        return Warming(chains, size, variances, memory, window, at.grad_evals + info.grad_evals, done)

    def result(self, at: Warming[S]) -> WarmedUp[S]:
        """Return what has been learned so far."""
        size = self.plan.clamp(self.rule.final(at.memory)) if at.n_steps else at.step_size
        return WarmedUp(at.chains, size, at.variances, at.grad_evals, at.n_steps)


def window_ends(n_steps: int) -> list[int]:
    """Return the steps after which scales are re-estimated: windows that double, between two buffers.

    Stan's proportions: of 1,000 steps, 75 + 75 before the second window ends, 50 to 100 after the last. The
    first window has at least 25 steps, as Stan's.
    """
    start, final = int(0.15 * n_steps), int(0.1 * n_steps)
    ends, width, at = [], max(25, start // 3), start
    while at + width <= n_steps - final:
        at += width
        width *= 2
        if at + width > n_steps - final:
            at = n_steps - final  # the last window takes what is left
        ends.append(at)
    return ends


def _empty(like: Tensor) -> Moments:
    return Moments(0, 0, torch.zeros_like(like), torch.zeros_like(like))


def _with(moments: Moments, position: Tensor) -> Moments:
    """Add the positions ``(chains, dim)`` of one step (Chan, Golub & LeVeque 1983)."""
    chains, mean = position.shape[0], position.mean(0)
    total = moments.n_positions + chains
    shift = mean - moments.mean
    squares = (
        moments.squares
        + (position - mean).square().sum(0)
        + shift.square() * (moments.n_positions * chains / total)
    )
    return Moments(moments.n_steps + 1, total, moments.mean + shift * (chains / total), squares)


def _shrunk(moments: Moments, prior: Tensor) -> Tensor:
    """Return variances ``(dim,)`` shrunk towards *prior*, as a weighted geometric mean.

    An arithmetic one would let a prior that is a thousand times too wide dominate. The weight n / (n + 5) is
    Stan's; n counts steps, not steps times chains: draws of a chain are correlated.
    """
    variances = moments.squares / max(moments.n_positions - 1, 1)
    usable = torch.isfinite(variances) & (variances > 0)
    variances = torch.where(usable, variances, prior)
    weight = moments.n_steps / (moments.n_steps + 5.0)
    return torch.exp(weight * variances.log() + (1 - weight) * prior.log())
