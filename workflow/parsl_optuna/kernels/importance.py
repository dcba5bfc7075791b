"""Pareto-smoothed importance sampling: expectations under a target from draws of an approximation.

Vehtari, Simpson, Gelman, Yao, Gabry (2024), arXiv:1507.02646. The fitted tail index k-hat says whether to
believe the result: below 0.7 errors shrink as they should, above it the approximation misses the target.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

TRUSTED = 0.7
"""Largest k-hat at which a result is used (Vehtari et al. 2024)."""

_FEWEST_TAIL = 5
"""Ratios of a tail that a Pareto law is fitted to, at least; a fifth of the draws, as in the paper."""

_ALIKE = 1e-3
"""Relative range of the largest ratios within which they are alike: what that moves is a thousandth of sd."""


class Corrected(NamedTuple):
    """An expectation under the target, its standard error and k-hat; nan where draws are too few."""

    value: float
    se: float
    khat: float


def expectation(values: Tensor, log_ratios: Tensor) -> Corrected:
    """Estimate the mean of *values* under the target, self-normalised.

    Args:
        values: ``(draws,)``, of the function at independent draws from the approximation.
        log_ratios: ``(draws,)``, log of target over approximation there, up to a constant.
    """
    usable = torch.isfinite(values) & torch.isfinite(log_ratios)
    values, log_ratios = values[usable].cpu().double(), log_ratios[usable].cpu().double()
    if len(values) < 5 * _FEWEST_TAIL:
        return Corrected(math.nan, math.nan, math.nan)
    ratios, khat = _smoothed((log_ratios - log_ratios.max()).exp())
    weights = ratios / ratios.sum()
    mean = (weights * values).sum()
    se = (weights.square() * (values - mean).square()).sum().sqrt()
    return Corrected(float(mean), float(se), khat)


def _smoothed(ratios: Tensor) -> tuple[Tensor, float]:
    """Replace the largest ratios by the expected order statistics of a Pareto tail fitted to them."""
    from scipy.stats import genpareto  # noqa: PLC0415  a second that no other method should pay

    count = len(ratios)
    tail = int(min(0.2 * count, 3.0 * math.sqrt(count)))
    order = torch.argsort(ratios)
    cut = ratios[order[-tail - 1]]
    excess = (ratios[order[-tail:]] - cut).numpy()
    if not excess[-1] > _ALIKE * ratios[order[-1]]:
        return ratios, -math.inf  # the approximation is the target, up to rounding, of which no tail tells
    excess = np.maximum(excess, np.finfo(float).tiny)
    khat, _, scale = genpareto.fit(excess, floc=0.0)
    ranks = (np.arange(tail) + 0.5) / tail
    smooth = ratios.clone()
    expected = torch.from_numpy(genpareto.ppf(ranks, khat, scale=scale))
    smooth[order[-tail:]] = (cut + expected).clamp(max=1.0)
    return smooth, float(khat)
