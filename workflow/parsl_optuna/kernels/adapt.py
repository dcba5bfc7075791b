"""Warm-up: step size and scales from what all chains did together.

Dual averaging: Hoffman & Gelman (2014), section 3.2, arXiv:1111.4246. Windows: Stan reference manual,
"HMC algorithm parameters". Energy-error rule: Robnik et al. (2023), arXiv:2212.08549, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Generator, Tensor

from parsl_optuna.kernels.snapshot import rebuild
from parsl_optuna.kernels.types import Info, Kernel


class HasPosition(Protocol):
    """A state that says where its chains are."""

    @property
    def position(self) -> Tensor:
        """``(chains, dim)``."""
        ...


S = TypeVar("S", bound=HasPosition)


class StepRule(Protocol):
    """Moves a step size by what the last step told."""

    def restart(self, step_size: float) -> None:
        """Forget the past and begin at *step_size*."""

    def update(self, info: Info) -> float:
        """Return the step size to try next."""
        ...

    def final(self) -> float:
        """Return the step size to keep."""
        ...

    def numbers(self) -> list[float]:
        """Return everything that it remembers."""
        ...

    def recall(self, numbers: list[float]) -> None:
        """Take back what `numbers` returned."""


class DualAveraging:
    """Drive the mean acceptance of all chains to a target.

    Args:
        target: Wanted acceptance probability, in (0, 1).
    """

    def __init__(self, target: float) -> None:
        self._target = target
        self.restart(1.0)

    def restart(self, step_size: float) -> None:
        """Forget the past and begin at *step_size*."""
        self._mu = math.log(10.0 * step_size)
        self._log_average = math.log(step_size)
        self._error = 0.0
        self._count = 0

    def update(self, info: Info) -> float:
        """Return the step size to try next (gamma 0.05, t0 10, kappa 0.75)."""
        self._count += 1
        weight = 1.0 / (self._count + 10.0)
        shortfall = self._target - float(info.acceptance.mean())
        self._error = (1 - weight) * self._error + weight * shortfall
        log_step = self._mu - math.sqrt(self._count) / 0.05 * self._error
        fade = self._count**-0.75
        self._log_average = fade * log_step + (1 - fade) * self._log_average
        return math.exp(log_step)

    def final(self) -> float:
        """Return the averaged step size."""
        return math.exp(self._log_average)

    def numbers(self) -> list[float]:
        """Return everything that it remembers."""
        return [self._mu, self._log_average, self._error, float(self._count)]

    def recall(self, numbers: list[float]) -> None:
        """Take back what `numbers` returned."""
        self._mu, self._log_average, self._error, count = numbers
        self._count = int(count)


class EnergyVariance:
    """Drive the variance of the energy error per dimension to a target, using Var ~ step^6.

    Args:
        target: Wanted E[dE^2] / dim per step.
        dim: Number of parameters.
    """

    _MEMORY = 150.0

    def __init__(self, target: float, dim: int) -> None:
        self._target, self._dim = target, dim
        self.restart(1.0)

    def restart(self, step_size: float) -> None:
        """Forget the past and begin at *step_size*."""
        self._step, self._sum, self._weight = step_size, 0.0, 0.0

    def update(self, info: Info) -> float:
        """Return the step size to try next; it halves when a chain diverges."""
        if bool(info.diverged.any()):
            self.restart(0.5 * self._step)
            return self._step
        fade = (self._MEMORY - 1) / (self._MEMORY + 1)
        error = float(info.energy_change.square().mean()) / self._dim
        self._sum = fade * self._sum + error / self._step**6
        self._weight = fade * self._weight + 1.0
        wanted = (self._target / max(self._sum / self._weight, 1e-300)) ** (1 / 6)
        self._step = min(max(wanted, 0.8 * self._step), 1.25 * self._step)
        return self._step

    def final(self) -> float:
        """Return the step size reached."""
        return self._step

    def numbers(self) -> list[float]:
        """Return everything that it remembers."""
        return [self._step, self._sum, self._weight]

    def recall(self, numbers: list[float]) -> None:
        """Take back what `numbers` returned."""
        self._step, self._sum, self._weight = numbers


@dataclass(frozen=True)
class Plan:
    """How long to warm up, and from where.

    Args:
        n_steps: Steps in all; 0 keeps the initial values.
        step_size: First step size.
        variances: ``(dim,)`` first guess of the posterior variances, also the prior that every
            later estimate is shrunk towards.
        bounds: Smallest and largest step size to try.
    """

    n_steps: int
    step_size: float
    variances: Tensor
    bounds: tuple[float, float] = (1e-12, 1e12)

    def clamp(self, step_size: float) -> float:
        """Return the allowed step size nearest to *step_size*."""
        return min(max(step_size, self.bounds[0]), self.bounds[1])


class WarmedUp(NamedTuple, Generic[S]):
    """What warm-up leaves behind; ``grad_evals`` are those of one chain."""

    state: S
    step_size: float
    variances: Tensor
    grad_evals: int
    n_steps: int


class WarmUp(Generic[S]):
    """A kernel whose step size and scales are learned while it runs, pooled over chains.

    Args:
        make: Builds the kernel from a step size and the variances ``(dim,)``.
        rule: Moves the step size.
        plan: Lengths and first guesses.
        position: ``(chains, dim)`` start.
        generator: Source of randomness.
    """

    def __init__(
        self,
        make: Callable[[float, Tensor], Kernel[S]],
        rule: StepRule,
        plan: Plan,
        position: Tensor,
        generator: Generator,
    ) -> None:
        self._make, self._rule, self._plan, self._generator = make, rule, plan, generator
        self._step_size, self._variances = plan.clamp(plan.step_size), plan.variances
        rule.restart(self._step_size)
        self._kernel = make(self._step_size, self._variances)
        self._state = self._kernel.init(position, generator)
        self._ends = set(window_ends(plan.n_steps))
        self._window = _Moments(plan.variances)
        self._grad_evals, self._done = 1, 0

    @property
    def has_ended(self) -> bool:
        """Whether all steps are done."""
        return self._done >= self._plan.n_steps

    def step(self) -> None:
        """Make one step and learn from it."""
        plan, rule = self._plan, self._rule
        self._state, info = self._kernel.step(self._state, self._generator)
        self._done += 1
        self._grad_evals += info.grad_evals
        self._step_size = plan.clamp(rule.update(info))
        self._window.add(self._state.position)
        if self._done in self._ends:
            self._variances = self._window.shrunk(plan.variances)
            self._step_size = plan.clamp(rule.final())
            rule.restart(self._step_size)
            self._window = _Moments(plan.variances)
        elif self._done == min(self._ends, default=0) // 4:
            self._window = _Moments(plan.variances)  # the way in from the start tells nothing of the scales
        self._kernel = self._make(self._step_size, self._variances)

    def result(self) -> WarmedUp[S]:
        """Return what has been learned so far."""
        step_size = self._plan.clamp(self._rule.final()) if self._done else self._step_size
        return WarmedUp(self._state, step_size, self._variances, self._grad_evals, self._done)

    def snapshot(self) -> list[Any]:
        """Return everything that a later attempt needs besides randomness: plain values and tensors."""
        numbers = [self._rule.numbers(), self._step_size, self._variances, self._grad_evals, self._done]
        return [self._state, self._window.snapshot(), *numbers]

    def restore(self, data: list[Any]) -> None:
        """Take back what `snapshot` returned."""
        state, window, rule, self._step_size, self._variances, self._grad_evals, self._done = data
        self._state = rebuild(self._state, state)
        self._window.restore(window)
        self._rule.recall(rule)
        self._kernel = self._make(self._step_size, self._variances)


def window_ends(n_steps: int) -> list[int]:
    """Return the steps after which scales are re-estimated: doubling windows, then a final buffer."""
    start, final = int(0.15 * n_steps), int(0.1 * n_steps)
    ends, width, at = [], max(25, start // 3), start
    while at + width <= n_steps - final:
        at += width
        width *= 2
        if at + width > n_steps - final:
            at = n_steps - final  # the last window takes what is left
        ends.append(at)
    return ends


class _Moments:
    """Running mean and variance over draws and chains; memory does not grow with steps."""

    def __init__(self, dim: Tensor) -> None:
        self.n_draws = 0
        self._count = 0
        self._mean = torch.zeros_like(dim)
        self._squares = torch.zeros_like(dim)

    def add(self, position: Tensor) -> None:
        chains = position.shape[0]
        mean = position.mean(0)
        total = self._count + chains
        shift = mean - self._mean
        self._squares = (
            self._squares
            + (position - mean).square().sum(0)
            + shift.square() * (self._count * chains / total)
        )
        self._mean = self._mean + shift * (chains / total)
        self._count = total
        self.n_draws += 1

    def snapshot(self) -> list[Any]:
        """Return all of it."""
        return [self.n_draws, self._count, self._mean, self._squares]

    def restore(self, data: list[Any]) -> None:
        """Take back what `snapshot` returned."""
        self.n_draws, self._count, self._mean, self._squares = data

    def shrunk(self, prior: Tensor) -> Tensor:
        """Return variances ``(dim,)`` shrunk towards *prior*, as a weighted geometric mean.

        An arithmetic one would let a prior that is a thousand times too wide dominate. The weight is
        the number of steps, not steps times chains: draws of a chain are correlated.
        """
        variances = self._squares / max(self._count - 1, 1)
        usable = torch.isfinite(variances) & (variances > 0)
        variances = torch.where(usable, variances, prior)
        weight = self.n_draws / (self.n_draws + 5.0)
        return torch.exp(weight * variances.log() + (1 - weight) * prior.log())
