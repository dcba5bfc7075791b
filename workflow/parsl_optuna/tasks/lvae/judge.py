"""What a finished run is worth: its outcome by name, dimension, Lipschitz constant, and PCA beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from parsl_optuna.tasks.lvae.pruning import Pruner, is_far_above

_MEAN_IMAGE = 0.95
"""A normalised error above this is hardly better than the mean design."""

_EXPLAINED = 0.01
"""Share of the error that a dimension must explain to count, as in the least-volume papers; and the smallest
spread, of the largest, that is told from none.
"""

_PROBES = 16
"""Codes at which the decoder's Jacobian is formed; each costs as many backward passes as a design has
pixels.
"""


@dataclass(frozen=True)
class Curve:
    """Normalised validation error and active dimensions by epoch, and the first epoch with pruning."""

    rows: list[list[float]]
    pruning_epoch: int


def outcome(curve: Curve, nmse: float, active: int, latent_dim: int) -> tuple[str, str | None]:
    """Name how a run went: good, complete_pruning, no_pruning, divergence or instability; and why."""
    if active == 0:
        return "complete_pruning", "no dimension is left"
    if nmse > _MEAN_IMAGE:
        return "divergence", f"normalised error {nmse:.3g}: no better than the mean design"
    errors = [row[0] for row in curve.rows[curve.pruning_epoch :]]
    if errors and is_far_above(errors[-1], min(errors)):
        return "instability", f"the error ended {errors[-1] / min(errors):.2g} times above its least"
    if active == latent_dim:
        return "no_pruning", "every dimension is left"
    return "good", None


def claim(intrinsic: int | None, active: int, nmse: float, pca: float) -> tuple[str, str | None]:
    """Name what a run of the strategy `neighbours` that pruned says of the dimension; and why, if little.

    Args:
        intrinsic: Dimension of the designs by their nearest neighbours; None where that cannot be told.
        active: Dimensions that are left.
        nmse: Normalised validation error.
        pca: That of PCA with as many dimensions.
    """
    if intrinsic is None:
        return (
            "unknown_dimension",
            "neighbours do not tell the designs' dimension; pruned as by plummet",
        )
    if is_far_above(nmse, pca):
        return "worse_than_pca", f"normalised error {nmse:.3g}; PCA with as many dimensions has {pca:.3g}"
    if active > intrinsic:
        return "good", f"{active} dimensions are left, and neighbours read {intrinsic} of the designs"
    return "good", None


@torch.no_grad()
def effective_dims(
    encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor], pruner: Pruner, designs: Tensor
) -> int:
    """Return how many of the codes explain at least one per cent of what all of them do.

    Codes are set to their means one after the other, the smallest std first.

    Source: the paper's code, "latent set dimension"; errors are mean Euclidean norms of residuals.
    """
    codes = pruner.mask(encode(designs))
    mean, order = codes.mean(dim=0), codes.std(dim=0).argsort()

    def error(kept: Tensor) -> float:
        return float((decode(kept) - designs).flatten(1).norm(dim=1).mean())

    whole, none = error(codes), error(mean.expand_as(codes))
    if none <= whole:
        return 0
    count, kept = 0, codes.clone()
    for dim in order:
        kept[:, dim] = mean[dim]
        count += (error(kept) - whole) / (none - whole) >= _EXPLAINED
    return int(count)


@torch.no_grad()
def gap_dims(encode: Callable[[Tensor], Tensor], pruner: Pruner, designs: Tensor) -> int:
    """Return the dimension before the widest gap in the spectrum of the codes; it needs no pruning.

    The spectrum is that of the codes' covariance, as standard deviations along its axes. What is below one
    per cent of the largest counts as one per cent: how far below it lies is noise.
    """
    codes = pruner.mask(encode(designs)).double()
    spread = torch.linalg.svdvals(codes - codes.mean(dim=0))
    if float(spread[0]) == 0:
        return 0
    logs = torch.cat([spread / spread[0], spread.new_zeros(1)]).clamp_min(_EXPLAINED).log()
    return int((logs[:-1] - logs[1:]).argmax()) + 1


def pca_nmse(train: Tensor, val: Tensor, dims: int) -> float:
    """Return the normalised validation error of PCA with as many dimensions."""
    mean = train.flatten(1).mean(dim=0)
    centred = train.flatten(1) - mean
    basis = torch.linalg.svd(centred, full_matrices=False)[2][:dims]
    rest = val.flatten(1) - mean
    rest = rest - rest @ basis.T @ basis
    return float(rest.square().mean() / train.flatten(1).var(dim=0).mean())


def lipschitz(decode: Any, codes: Tensor) -> float:
    """Return the largest norm of the decoder's Jacobian at some of the *codes*."""

    def flat(code: Tensor) -> Tensor:
        return decode(code[None]).flatten()

    with torch.no_grad():
        jacobians = [torch.func.jacrev(flat)(code) for code in codes[:_PROBES]]
        return max(float(torch.linalg.matrix_norm(one, ord=2)) for one in jacobians)
