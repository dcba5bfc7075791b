"""Of how many examples a step of kinetic Langevin dynamics needs the gradient.

An error of the gradient is a force, and heats: one of covariance C that is drawn afresh for every step
raises the temperature of a direction u by h/(2 friction) u'Cu. Over an epoch errors cancel, which leaves a
part of it; and directions that only the localiser holds may be hot without the loss being any higher.
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
_HALF_STEP = 0.95
"""Largest believed half of a step in units of 1 / frequency; 1 is the limit of stability."""

_COUNTS = tuple(sorted({base * 2**power for base in (2, 3) for power in range(20)}))


class Noise(NamedTuple):
    """Errors of the gradients of parts of the data.

    Attributes:
        parts: How many parts.
        power: E|error|^2.
        share: How much of that is along directions that the loss holds: tr(C S) / tr(C), S = H_L H^-1.
        stiffness: Curvature of U along an error, weighted by its square.
    """

    parts: int
    power: float
    share: float
    stiffness: float

    def bias(self, count: int, motion: Motion) -> float:
        """Return what epochs of *count* parts are expected to add to the LLC: h/(4 friction) tr(C S)."""
        if count == 1:
            return 0.0
        power = self.power * (count - 1) / (self.parts - 1)  # without replacement
        # An oscillator of frequency f turns by 2 asin(h f / 2) per step, and is softer by 1 - (h f / 2)^2.
        half = min(0.5 * motion.step_size * math.sqrt(max(self.stiffness, 0.0)), _HALF_STEP)
        left = left_over(2.0 * math.asin(half), count) / (1.0 - half * half)
        return 0.25 * motion.step_size / motion.friction * power * self.share * left


def best_count(noise: Noise, motion: Motion, wanted: float) -> int:
    """Return the number of parts with which a standard error of *wanted*, heat included, costs least.

    Steps cost 1/parts, and it takes as many as 1 / (wanted^2 - heat^2) of them.
    """
    if not wanted > 0.0:
        return 1

    def gain(count: int) -> float:
        return count * (1.0 - (noise.bias(count, motion) / wanted) ** 2)

    return max([1, *(count for count in _COUNTS if count <= noise.parts)], key=gain)


def measured(
    estimand: Estimand, metric: Metric, states: Sequence[State], generator: Generator
) -> Noise | None:
    """Measure the errors of the smallest parts; None where the data cannot be cut.

    Of a normal posterior of covariance V under a localiser of precision G the loss holds S = 1 - G V, which
    needs no curvature, only draws. (Near a saddle, curvatures of either sign would hide what is flat.)

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
