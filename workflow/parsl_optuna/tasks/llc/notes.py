"""What a reader of an estimate should know beside it, in one line each."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from parsl_optuna.kernels import chain
from parsl_optuna.kernels.diagnostics import mcse
from parsl_optuna.tasks.llc.engine.auto import rounded
from parsl_optuna.tasks.llc.engine.warmup import is_large
from parsl_optuna.tasks.llc.problem.estimand import Estimand

_MODES = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
"""Modules that do something else in training."""

_NEGLIGIBLE = 0.01
"""Share of the LLC by which it may depend on a factor of 2 in gamma without a note."""

_APART, _FEWEST_COMPARED = 4.0, 16
"""Standard errors between the chains of both sides that are told, of so many draws or more."""


def of_gamma(metrics: dict[str, Any]) -> list[str]:
    """Say by how much the LLC depends on gamma, if that is more than its interval.

    Draws of a fit that is too poor, whose bias nobody knows, do not show that.
    """
    seen, value, error = metrics["diagnostics"], metrics["llc_hat"], metrics["se_hat"]
    slope, chance = seen["prior_sensitivity"], 2.0 * seen["prior_sensitivity_se"]
    share = 1.0 - 2.0 ** -max(slope - chance, 0.0)  # certain, of a gamma twice as large
    is_known = metrics["bias"] is not None
    if not (is_known and share * value > max(2.0 * error, _NEGLIGIBLE * value)):  # so also of nan
        return []
    lower = (1.0 - 2.0**-slope) * value
    return [
        f"gamma {metrics['gamma']:g}: twice as much would lower the LLC by {lower:.2g}, more than its "
        f"interval; the posterior fills {seen['prior_width_filled']:.0%} of the prior's width"
    ]


def of_sides(estimand: Estimand, trace: chain.Trace) -> list[str]:
    """Say where chains that began near w* stay apart from those that began in the prior."""
    if not is_large(estimand) or trace.n_draws < _FEWEST_COMPARED:
        return []
    excess = trace.values["excess"]
    near, far = excess.tensor_split(2, dim=1)  # as `from_both_sides` made them
    apart = float(near.mean() - far.mean())
    if not abs(apart) > _APART * math.hypot(mcse(near), mcse(far)):
        return []
    return [
        f"chains that began near w* have {float(near.mean()):.4g}, those that began in the prior "
        f"{float(far.mean()):.4g}: the posterior has parts between which they hardly move; a larger gamma "
        f"than {estimand.gamma:g} keeps it at w*"
    ]


def of_rounding(estimand: Estimand, metrics: dict[str, Any]) -> list[str]:
    """Say where numbers are too coarse for the loss."""
    size, value = rounded(estimand), metrics["llc_hat"]
    if not size > _NEGLIGIBLE * abs(value):  # so also of nan
        return []
    cure = "take precision='float64', or" if estimand.centre.dtype != torch.float64 else "for an LLC"
    return [
        f"the loss of {estimand.L0:.3g} is rounded by {size:.2g} in units of the LLC; {cure} subtract a "
        "constant from the loss"
    ]


def of_modes(model: nn.Module, loss: object) -> list[str]:
    """Say what is not as in training."""
    told = []
    changed = sorted(
        {type(part).__name__ for part in model.modules() if part.training and isinstance(part, _MODES)}
    )
    if changed:
        told.append(f"the model is in training mode; {', '.join(changed)} act as in evaluation mode here")
    if isinstance(loss, nn.Module) and any(value.requires_grad for value in loss.parameters()):
        told.append("parameters of the loss are held where they are; only those of the model are sampled")
    return told
