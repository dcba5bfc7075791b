"""Whether a loss is the same in float32 as in float64, in which its gradient was held against slopes."""

from __future__ import annotations

import math

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


def check_precision(exact: tuple[Loss, Tensor], single: tuple[Loss, Tensor]) -> None:
    """Compare gradients on all data at random weights; they have to agree at one distance from the model's.

    Args:
        exact: The loss in float64, and the weights of the model ``(dim,)``.
        single: The same in float32.

    Raises:
        SpecError: They agree nowhere.
    """
    (loss, centre), (other, like) = exact, single
    generator = Generator("cpu").manual_seed(0)
    off = math.inf
    for scale in _SCALES:
        w = centre + scale * (centre.abs().mean() + 1.0) * normal(centre, generator)
        there = precise(other.value_and_grad(w.to(like).unsqueeze(0))[1]).cpu()
        here = precise(loss.value_and_grad(w.to(like).to(centre).unsqueeze(0))[1]).cpu()
        off = min(off, _relative(there - here, here))
        if off <= _TOLERANCE:
            return
    raise SpecError(f"its gradient is off by {off:.0%} of that in float64; take precision='float64'")


def _relative(difference: Tensor, whole: Tensor) -> float:
    """Return how long a difference is; infinite of what is no number."""
    found = float(difference.norm()) / max(float(whole.norm()), 1e-300)
    return found if math.isfinite(found) else math.inf
