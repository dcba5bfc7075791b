"""Which latent dimensions to prune, from their standard deviations. Pure.

``neighbours`` is ours. ``plummet``, ``pca_cdf``, ``lognorm`` and ``probabilistic`` are rules that do what
their names promise; ``…_original`` are those of the program that the seeds describe, kept to compare with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Generator, Tensor

_TINY = 1e-12
"""Added to what is divided by or logged: a pruned dimension may have a standard deviation of zero."""

_LEAST_SIGMA = 1e-6
"""Smallest width or temperature, of dimensions that are all alike."""

_RATIO = 0.01
"""Standard deviation, of the largest, at which the odds of pruning fall to 1/e."""


@dataclass(frozen=True)
class Rule:
    """Thresholds of all strategies, by their usual names."""

    plummet_threshold: float
    cdf_threshold: float
    percentile: float
    alpha: float
    temperature: float


@dataclass(frozen=True)
class Seen:
    """What a strategy looks at.

    Attributes:
        std: ``(dims,)`` of all dimensions, pruned ones included.
        active: ``(dims,)`` booleans.
        reference: ``(dims,)`` stds when pruning began.
        intrinsic: Dimension of the designs by their nearest neighbours; None where that cannot be told.
    """

    std: Tensor
    active: Tensor
    reference: Tensor
    intrinsic: int | None = None


def candidates(name: str, seen: Seen, rule: Rule, stream: Generator) -> Tensor:
    """Return ``(dims,)`` booleans: what strategy *name* would prune."""
    if name.endswith("_original"):
        return _STRATEGIES[name](seen, rule, stream)
    found = torch.zeros_like(seen.active)
    if bool(seen.active.any()):
        found[seen.active] = _STRATEGIES[name](seen, rule, stream)
    return found & seen.active


def _neighbours(seen: Seen, rule: Rule, stream: Generator) -> Tensor:
    """Prune as `_plummet` does, and else the smallest, one at a time, until as many are left as designs need.

    Never fewer; where the number is not known, as `_plummet`. Else these are stds along principal axes.
    """
    found = _plummet(seen, rule, stream)
    if seen.intrinsic is None:
        return found
    std = seen.std[seen.active]
    smallest = std.argsort()[: max(len(std) - seen.intrinsic, 0)]
    found[smallest[:1]] = True
    above = torch.zeros_like(found)
    above[smallest] = True
    return found & above


def _plummet(seen: Seen, rule: Rule, stream: Generator) -> Tensor:
    """Prune what is below a fraction of the std before the steepest drop."""
    del stream
    std = seen.std[seen.active]
    return std < rule.plummet_threshold * _before_drop(std, 0)


def _plummet_original(seen: Seen, rule: Rule, stream: Generator) -> Tensor:
    """Take the std after the drop, among all dimensions: pruned ones, at zero, make it stall."""
    del stream
    return seen.std / (_before_drop(seen.std, 1) + _TINY) < rule.plummet_threshold


def _before_drop(std: Tensor, after: int) -> Tensor:
    """Return the std at the steepest drop of the sorted logarithms, or *after* places later."""
    ordered = std.sort(descending=True).values
    if len(ordered) < 2:
        return ordered[0]
    drops = (ordered[:-1] + _TINY).log() - (ordered[1:] + _TINY).log()
    return ordered[int(drops.argmax()) + after]


def _pca_cdf(seen: Seen, rule: Rule, stream: Generator) -> Tensor:
    """Prune the smallest while all that is pruned has less than 1 - threshold of the reference variance."""
    del stream
    lost = seen.reference[~seen.active].square().sum()
    variance = seen.std[seen.active].square()
    ordered, index = variance.sort()
    total = seen.reference.square().sum() + _TINY
    goes = (lost + ordered.cumsum(0)) / total <= 1.0 - rule.cdf_threshold
    return torch.zeros_like(goes).scatter(0, index, goes)


def _pca_cdf_original(seen: Seen, rule: Rule, stream: Generator) -> Tensor:
    """Renormalise the shares every time: repeated, this prunes down to one dimension."""
    del stream
    variance = seen.std.square()
    threshold = min(
        rule.cdf_threshold * float(variance.sum() / (seen.reference.square().sum() + _TINY)), 0.999
    )
    ordered, index = variance.sort(descending=True)
    goes = (ordered / (variance.sum() + _TINY)).cumsum(0) > threshold
    goes[0] = False
    return torch.zeros_like(goes).scatter(0, index, goes)


def _lognorm(seen: Seen, rule: Rule, stream: Generator) -> Tensor:
    """Prune below a percentile of a log-normal law that blends now with the reference."""
    del stream
    return seen.std[seen.active] < _cutoff(seen.std[seen.active], seen.reference, rule)


def _lognorm_original(seen: Seen, rule: Rule, stream: Generator) -> Tensor:
    """Let pruned dimensions, at zero, widen the law."""
    del stream
    return seen.std < _cutoff(seen.std, seen.reference, rule)


def _cutoff(std: Tensor, reference: Tensor, rule: Rule) -> float:
    def law(values: Tensor) -> tuple[float, float]:
        logs = values.clamp_min(_TINY).log()
        sigma = float(logs.std()) if len(logs) > 1 else 0.0
        return float(logs.mean()), max(sigma, _LEAST_SIGMA)

    now, then = law(std), law(reference)
    mu, sigma = ((1 - rule.alpha) * a + rule.alpha * b for a, b in zip(then, now, strict=True))
    return math.exp(mu + sigma * NormalDist().inv_cdf(rule.percentile))


def _probabilistic(seen: Seen, rule: Rule, stream: Generator) -> Tensor:
    """Prune with probability exp(-s / (0.01 T s_max)): the largest practically never."""
    std = seen.std[seen.active]
    odds = (-std / (_RATIO * rule.temperature * std.max() + _TINY)).exp()
    return torch.rand(len(std), generator=stream) < odds


def _probabilistic_original(seen: Seen, rule: Rule, stream: Generator) -> Tensor:
    """Prune with probability sigmoid(score / T), which is at least one half even for the largest."""
    share = seen.std / (seen.std.sum() + _TINY)
    score = 1 - share / (share.max() + _TINY)
    odds = torch.sigmoid(score / max(rule.temperature, _LEAST_SIGMA))
    return torch.rand(len(odds), generator=stream) < odds


_STRATEGIES: dict[str, Callable[[Seen, Rule, Generator], Tensor]] = {
    "neighbours": _neighbours,
    "plummet": _plummet,
    "pca_cdf": _pca_cdf,
    "lognorm": _lognorm,
    "probabilistic": _probabilistic,
    "plummet_original": _plummet_original,
    "pca_cdf_original": _pca_cdf_original,
    "lognorm_original": _lognorm_original,
    "probabilistic_original": _probabilistic_original,
}
