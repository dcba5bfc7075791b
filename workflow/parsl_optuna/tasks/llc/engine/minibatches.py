"""Choose the minibatch size of kinetic Langevin dynamics on minibatches without replacement.

An error of the gradient is a random force. One of covariance C that is drawn afresh for every step of length
h raises the temperature of a direction u by h/(2 friction) u'Cu (fluctuation and dissipation). With every
minibatch once per epoch most errors cancel; what is left is the stochastic-gradient bias. Directions that
only the localization prior determines may be too hot without the loss being any higher.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.kernels.langevin import Motion, State
from parsl_optuna.kernels.metric import Metric
from parsl_optuna.tasks.llc.problem.curvature import curvature_along
from parsl_optuna.tasks.llc.problem.estimand import Estimand

_FEWEST_EXAMPLES = 128
"""Of a minibatch: below, a gradient costs little less, and its errors are far from normal."""

_HALF_STEP = 0.95
"""Largest half step, in units of 1 / frequency, that the formula is used for; 1 is the limit of stability."""

_COUNTS = tuple(sorted({base * 2**power for base in (2, 3) for power in range(20)}))
"""Numbers of minibatches that are tried: 2, 3, 4, 6, 8, …; the best gain is flat between neighbours."""


class Noise(NamedTuple):
    """Errors of the gradients of minibatches.

    Attributes:
        n_minibatches: Number of minibatches that the data are cut into.
        power: E|error|^2.
        share: Of that, along directions that the loss determines: tr(C S) / tr(C), S = H_L (H_L + gamma)^-1.
        stiffness: Curvature of U along an error, weighted by its square.
    """

    n_minibatches: int
    power: float
    share: float
    stiffness: float

    def bias(self, count: int, motion: Motion) -> float:
        """Return the expected bias of the LLC with *count* minibatches per epoch: h/(4 friction) tr(C S)."""
        if count == 1:
            return 0.0
        power = self.power * (count - 1) / (self.n_minibatches - 1)  # without replacement
        # An oscillator of frequency f turns by 2 asin(h f / 2) per step, and is softer by 1 - (h f / 2)^2.
        half = min(0.5 * motion.step_size * math.sqrt(max(self.stiffness, 0.0)), _HALF_STEP)
        left = left_over(2.0 * math.asin(half), count) / (1.0 - half * half)
        return 0.25 * motion.step_size / motion.friction * power * self.share * left


def best_count(noise: Noise, motion: Motion, wanted: float) -> int:
    """Return the number of minibatches with which a standard error of *wanted*, bias included, costs least.

    A step costs 1/count, and the number of steps is proportional to 1 / (wanted^2 - bias^2).
    """
    if not wanted > 0.0:
        return 1

    def gain(count: int) -> float:
        return count * (1.0 - (noise.bias(count, motion) / wanted) ** 2)

    return max([1, *(count for count in _COUNTS if count <= noise.n_minibatches)], key=gain)


def measured(
    estimand: Estimand, metric: Metric, states: Sequence[State], generator: Generator
) -> Noise | None:
    """Measure the errors of the smallest minibatches; None where the data cannot be cut.

    For a normal posterior of covariance V under a prior of precision G, S = 1 - G V, which takes draws only,
    no curvature. (Near a saddle, curvatures of either sign would hide what is flat.)

    Args:
        estimand: What the chains sample.
        metric: Their coordinates.
        states: Of chains in equilibrium, on all data; an error is looked at in each.
        generator: Source of randomness.
    """
    count = estimand.n // _FEWEST_EXAMPLES if estimand.target.loss.has_data else 1
    if count < 2:
        return None
    whole = metric.potential(estimand.energy)
    errors, along = [], []
    for state, part in zip(states, cycle(estimand.parts(count, generator)), strict=False):
        error = metric.potential(part)(state.position, generator)[1] - state.gradient
        errors.append(error)
        along.append(curvature_along(error, whole, state.position, state.gradient, generator))
    power = torch.stack(errors).square().sum(-1)
    positions = torch.cat([state.position for state in states])
    held = power - _loose(estimand, metric, torch.stack(errors), positions - positions.mean(0))
    least = held.std() / math.sqrt(held.numel())  # what cannot be told from none
    total = max(float(power.mean()), 1e-300)  # 0 where all examples are the same
    share = min(1.0, float(torch.maximum(held.mean(), least)) / total)
    return Noise(count, total, share, float((power * torch.stack(along)).mean()) / total)


def _loose(estimand: Estimand, metric: Metric, errors: Tensor, deviations: Tensor) -> Tensor:
    """Return u' G V u of *errors* u ``(states, chains, dim)`` as ``(states, chains)``."""
    localised = metric.pulled(estimand.gamma * (metric.position(errors) - metric.centre))
    return (localised @ deviations.T * (errors @ deviations.T)).sum(-1) / (len(deviations) - 1)


def left_over(angle: float, count: int) -> float:
    """Return the power at a phase of *angle* per step, relative to independent errors of that size.

    Of *count* errors in random order that sum to zero: count / (count - 1) (1 - |D|^2), with D the mean of
    exp(i k angle), k < count.
    """
    mean = math.sin(0.5 * count * angle) / (count * math.sin(0.5 * angle)) if angle else 1.0
    return count / (count - 1) * (1.0 - mean * mean)
