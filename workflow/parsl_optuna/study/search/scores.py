"""Values of trials as a model learns them, whatever their unit and however far off the bad ones are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_CHEBYSHEV = 0.05
"""Weight of the sum beside the largest one (Knowles 2006, ParEGO)."""

_GOOD = 0.1
"""Share of values that are better than the one that distances are taken from."""
_FARTHEST = 100.0
"""Distances of more count as this one, in units of that of the median."""


def normal_scores(values: Array) -> Array:
    """Return standard normal quantiles of the ranks of *values*; equal ones share their mean rank.

    Args:
        values: Any numbers, the least one the best; ``inf`` ranks last.
    """
    from scipy.special import ndtri  # noqa: PLC0415  scipy is needed with the first model, not before

    return ndtri((_ranks(values) - 0.5) / len(values))


def log_scores(values: Array) -> Array:
    """Return values of mean 0 and variance 1 whose distances from good ones count by their logarithm.

    Good points keep their distances, which is what a smooth function is found by: with ranks, all near its
    bottom look alike (`benchmarks.search`). Distances are taken from the value that a tenth are better than,
    in units of that of the median. Divergence counts as far off, a failure as worse than all others, and one
    value that is far better than all does not hide the differences among these.

    Args:
        values: Any numbers, the least one the best; ``inf`` is a failure.
    """
    is_finite = np.isfinite(values)
    if not is_finite.any():
        return normal_scores(values)
    with np.errstate(over="ignore", invalid="ignore"):
        good, middle = np.quantile(values[is_finite], (_GOOD, 0.5))
        if not 0.0 < middle - good < math.inf:
            return normal_scores(values)
        scores = _log_of((values - good) / (middle - good), is_finite)
    return (scores - scores.mean()) / scores.std()


def excess_scores(values: Array) -> tuple[Array, float]:
    """Return how far a constraint is missed or kept, with distances as in `log_scores`, and its limit there.

    Args:
        values: The constraint is kept where it is at most 0; ``inf`` of a failure, but not all of them.
    """
    is_finite = np.isfinite(values)
    sizes = np.abs(values[is_finite & (values != 0.0)])
    with np.errstate(over="ignore"):
        scores = _log_of(values / (np.median(sizes) if len(sizes) else 1.0), is_finite)
    mean, deviation = scores.mean(), scores.std() or 1.0
    return (scores - mean) / deviation, float(-mean / deviation)


def _log_of(distances: Array, is_finite: NDArray[np.bool_]) -> Array:
    """Return the logarithm of distances with their sign; where there is none, it is behind all others."""
    clipped = np.clip(distances, -_FARTHEST, _FARTHEST)
    clipped[~is_finite] = clipped[is_finite].max() + 1.0
    return np.sign(clipped) * np.log1p(np.abs(clipped))


def scalarised(values: Array, weights: Array) -> Array:
    """Return one number per trial of several objectives: the augmented Chebyshev norm of weighted ranks.

    Args:
        values: To be minimised, shape (trials, objectives); a row of ``inf`` ranks last.
        weights: One per objective, of sum 1.
    """
    ranks = np.column_stack([_ranks(column) / len(values) for column in values.T]) * weights
    return ranks.max(axis=1) + _CHEBYSHEV * ranks.sum(axis=1)


def _ranks(values: Array) -> Array:
    """Return ranks from 1, equal values sharing their mean; scipy.stats takes half a second to import."""
    ordered = np.sort(values)
    below, not_above = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return 0.5 * (below + not_above + 1).astype(np.float64)


def at_last_step(
    own: Mapping[int, float],
    value: float,
    complete: Sequence[Mapping[int, float]],
    pruned: Sequence[Mapping[int, float]],
    finals: Array,
) -> tuple[float, float]:
    """Return what a pruned trial is ordered by: the value it is taken to have ended with, and a second key.

    Its last report is ranked among the reports of the same step of the trials that ran to their end, and
    it takes the final value of that rank; where they reported nothing then, its value counts as it is.
    Pruned trials of one such rank are ordered by their rank among all that reported at their last step.

    Args:
        own: Its reports, by step.
        value: Its value.
        complete: Reports of the trials that ran to their end.
        pruned: Those of all pruned ones.
        finals: What the former ended with.
    """
    if not own:
        return value, 1.0
    step = max(own)
    share = _share_below(own[step], step, complete)
    if share is not None:
        value = float(np.quantile(finals, share, method="higher"))
    place = _share_below(own[step], step, [*complete, *pruned])
    return value, 1.0 if place is None else 1.0 + place


def _share_below(value: float, step: int, reports: Sequence[Mapping[int, float]]) -> float | None:
    at_step = [one[step] for one in reports if step in one and not math.isnan(one[step])]
    return sum(other < value for other in at_step) / len(at_step) if at_step else None
