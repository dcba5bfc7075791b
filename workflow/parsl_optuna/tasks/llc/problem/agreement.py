"""Whether a loss is the same in float32 as in float64, in which its gradient was held against slopes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Generator, Tensor

from parsl_optuna.core.errors import SpecError
from parsl_optuna.kernels.device import precise
from parsl_optuna.tasks.llc.problem.losses import Loss
from parsl_optuna.tasks.llc.problem.slopes import normal

_SCALES = (0.1, 1.0, 3.0)
"""Distances from the weights of the model, relative to their mean size and 1: close to a minimum float32 may
not have the gradient, and far from it not the loss.
"""

_TOLERANCE = 0.05
"""Relative difference between gradients, as between slopes in float32: rounding is far below where a loss is
well conditioned, and a wrong one is above.
"""


_UNSEEN = 1e-3
"""Of the length of the whole gradient, what rounding may leave in that of one tensor."""


def check_precision(
    exact: tuple[Loss, Tensor], single: tuple[Loss, Tensor], sizes: Sequence[int] | None = None
) -> None:
    """Compare gradients on all data at random weights; each tensor's has to agree at one distance.

    A wrong gradient of one layer is lost in the length of the whole.

    Args:
        exact: The loss in float64, and the weights of the model ``(dim,)``.
        single: The same in float32.
        sizes: Of the tensors that the weights are made of, one after the other; None for a single one.

    Raises:
        SpecError: Those of a tensor agree nowhere.
    """
    (loss, centre), (other, like) = exact, single
    generator = Generator("cpu").manual_seed(0)
    parts = list(sizes or [len(centre)])
    off = [math.inf] * len(parts)
    for scale in _SCALES:
        w = centre + scale * (centre.abs().mean() + 1.0) * normal(centre, generator)
        there = precise(other.value_and_grad(w.to(like).unsqueeze(0))[1][0]).cpu()
        here = precise(loss.value_and_grad(w.to(like).to(centre).unsqueeze(0))[1][0]).cpu()
        unseen = _UNSEEN * float(here.norm())
        pairs = zip((there - here).split(parts), here.split(parts), strict=True)
        off = [min(before, _relative(*pair, unseen)) for before, pair in zip(off, pairs, strict=True)]
        if max(off) <= _TOLERANCE:
            return
    raise SpecError(f"its gradient is off by {max(off):.0%} of that in float64; take precision='float64'")


def _relative(difference: Tensor, whole: Tensor, unseen: float) -> float:
    """Return how long a difference is, beyond what is *unseen*; infinite of what is no number."""
    found = max(float(difference.norm()) - unseen, 0.0) / max(float(whole.norm()), 1e-300)
    return found if math.isfinite(found) and math.isfinite(unseen) else math.inf
