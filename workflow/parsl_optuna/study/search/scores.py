"""Values of trials as normal scores of their ranks: any increasing change of the objective leaves them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_CHEBYSHEV = 0.05
"""Weight of the sum beside the largest one (Knowles 2006, ParEGO)."""


def normal_scores(values: Array) -> Array:
    """Return standard normal quantiles of the ranks of *values*; equal ones share their mean rank.

    Args:
        values: Any numbers, the least one the best; ``inf`` ranks last.
    """
    from scipy.special import ndtri  # noqa: PLC0415  scipy is needed with the first model, not before

    return ndtri((_ranks(values) - 0.5) / len(values))


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
