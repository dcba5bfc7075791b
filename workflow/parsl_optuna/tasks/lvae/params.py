"""Problems and hyperparameters of the least-volume autoencoder, by the names of the original program."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.load import structure, unstructure
from parsl_optuna.core.space import Categorical, Float, Int, Scalar, Space

Strategy = Literal[
    "neighbours",
    "plummet",
    "pca_cdf",
    "lognorm",
    "probabilistic",
    "plummet_original",
    "pca_cdf_original",
    "lognorm_original",
    "probabilistic_original",
]

OWN = {
    "neighbours": ("plummet_threshold",),
    "plummet": ("plummet_threshold",),
    "pca_cdf": ("cdf_threshold",),
    "lognorm": ("percentile", "alpha"),
    "probabilistic": ("temperature",),
}
"""Which parameters belong to which strategy; ``neighbours`` falls back to ``plummet``."""

GUARDS = {
    "none": (0, None, 0, 1, None),
    "min_dims_only": (10, None, 0, 1, None),
    "max_prune_only": (0, 20, 0, 1, None),
    "cooldown_only": (0, None, 20, 1, None),
    "consecutive_only": (0, None, 0, 5, None),
    "recon_tol_only": (0, None, 0, 1, 0.05),
    "all_conservative": (10, 10, 20, 5, 0.05),
    "all_moderate": (5, 20, 10, 3, 0.10),
}
"""Safeguard profiles: min_active_dims, max_prune_per_epoch, cooldown_epochs, k_consecutive, recon_tol."""

GUARD_NAMES = ("min_active_dims", "max_prune_per_epoch", "cooldown_epochs", "k_consecutive", "recon_tol")


@dataclass(frozen=True)
class Problem:
    """A set of designs.

    Attributes:
        problem_id: A family of `designs`, ``photonics2d`` with *designs*, or any name with them.
        resolution: Side of the squares, 8 to 128, to which images of a file are averaged. Vectors have none.
        n_designs: How many are made; of a file all are taken.
        data_seed: Of the designs and of their split, 80 % train, 20 % validation, where they have none.
        designs: Their file or folder in place of making them, known by its digest: npy, npz, parquet with a
            column ``optimal_design``, a folder of images, or one of files whose names begin with ``train``,
            ``val`` and ``test`` (the last is left alone). Arrays are ``(n, rows, columns)`` of images,
            ``(n, length)`` of vectors, ``(n, 2, points)`` or ``(n, points, 2)`` of curves, which are vectors.
        file: An older name of *designs*.
        true_dim: Their intrinsic dimension where it is known; families that are made know theirs.
        unit_range: Whether values lie in [0, 1]: by default images do and vectors do not.
    """

    problem_id: str
    resolution: int = 16
    n_designs: int = 1000
    data_seed: int = 0
    designs: str | None = None
    file: str | None = None
    true_dim: int | None = None
    unit_range: bool | None = None


@dataclass(frozen=True)
class Params:
    """Hyperparameters.

    Attributes:
        n_epochs: Passes over the designs.
        batch_size: Designs per step.
        lr: Of Adam.
        latent_dim: Codes at the start.
        width: Channels of the widest layer at full resolution; units of a layer for vectors.
        w_v: Weight of the volume.
        w_v_units: ``spread``: the volume is in units of the designs' spread, the error in units of their
            variance; ``original``: as in the original program, the volume is relative to that at the start,
            the error is the mean squared one.
        polynomial_schedule_n: Epochs in which the weight of the volume rises.
        polynomial_schedule_p: Power of that rise.
        eta: Added to stds in the volume.
        use_spectral_norm: Whether the decoder is Lipschitz-bounded.
        lipschitz: Its bound.
        pruning_epoch: First epoch with pruning.
        beta: Share of the past, below 1, in the running statistics, per batch.
        pruning_strategy: A rule of `strategies`.
        plummet_threshold: Fraction of the std before the steepest drop.
        cdf_threshold: Share of variance that is kept.
        percentile: Of the log-normal law.
        alpha: Share of the present in that law.
        temperature: Of the random rule.
        min_active_dims: See `pruning.Safeguards`, like the four below.
        max_prune_per_epoch: Null is no limit.
        cooldown_epochs: Epochs.
        k_consecutive: Times in a row.
        recon_tol: Null or .inf is no limit.
        save_model: Whether ``model.pt`` is left in the trial's folder: weights, active codes, parameters.
        device: ``auto`` takes a GPU where the worker has one.
        seed: Of weights, order and random rules; equal seeds share them across all other parameters.
    """

    n_epochs: int = 2500
    batch_size: int = 128
    lr: float = 1e-4
    latent_dim: int = 250
    width: int = 32
    w_v: float = 3.0
    w_v_units: Literal["spread", "original"] = "spread"
    polynomial_schedule_n: int = 100
    polynomial_schedule_p: float = 2.0
    eta: float = 1e-4
    use_spectral_norm: bool = True
    lipschitz: float = 1.0
    pruning_epoch: int = 500
    beta: float = 0.9
    pruning_strategy: Strategy = "neighbours"
    plummet_threshold: float = 0.05
    cdf_threshold: float = 0.99
    percentile: float = 0.05
    alpha: float = 0.2
    temperature: float = 1.0
    min_active_dims: int = 0
    max_prune_per_epoch: int | None = None
    cooldown_epochs: int = 0
    k_consecutive: int = 1
    recon_tol: float | None = None
    save_model: bool = False
    device: Literal["auto", "cuda", "cpu"] = "auto"
    seed: int = 1

    def __post_init__(self) -> None:
        values = asdict(self)
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise SpecError(f"{name} {value} must be a finite number")
        for name in ("n_epochs", "lr", "latent_dim", "width", "eta", "lipschitz", "temperature",
                     "k_consecutive"):  # fmt: skip
            if not values[name] > 0:
                raise SpecError(f"{name} {values[name]} must be above 0")
        if self.batch_size < 2:
            raise SpecError(f"batch_size {self.batch_size} must be at least 2: one code has no std")
        for name in ("w_v", "polynomial_schedule_n", "polynomial_schedule_p", "pruning_epoch",
                     "plummet_threshold", "min_active_dims", "cooldown_epochs"):  # fmt: skip
            if values[name] < 0:
                raise SpecError(f"{name} {values[name]} must be at least 0")
        for name, least in (("max_prune_per_epoch", 1), ("recon_tol", 0)):
            if values[name] is not None and values[name] < least:
                raise SpecError(f"{name} {values[name]} must be at least {least}, or null for no limit")
        if not 0 <= self.alpha <= 1:
            raise SpecError(f"alpha {self.alpha} must be in [0, 1]")
        if not 0 <= self.beta < 1:
            raise SpecError(f"beta {self.beta} must be at least 0 and below 1")
        for name in ("cdf_threshold", "percentile"):
            if not 0 < values[name] < 1:
                raise SpecError(f"{name} {values[name]} must be between 0 and 1")


def complete(
    problem: Mapping[str, Any], method: str, params: Mapping[str, Any], where: str
) -> dict[str, Scalar]:
    """Fill in defaults; ``safeguard_profile`` stands for the five safeguards."""
    del problem, method
    given = dict(params)
    profile = given.pop("safeguard_profile", None)
    if profile is not None:
        if profile not in GUARDS:
            raise SpecError(f"{where}.safeguard_profile: no '{profile}'; {nearest(str(profile), GUARDS)}")
        given = dict(zip(GUARD_NAMES, GUARDS[profile], strict=True)) | given
    if given.get("recon_tol") == math.inf:
        given["recon_tol"] = None
    return unstructure(structure(Params, given, where))


def irrelevant(method: str, params: Mapping[str, Any]) -> frozenset[str]:
    """Return the thresholds of the strategies that are not chosen, where one is."""
    del method
    strategy = str(params.get("pruning_strategy", Params.pruning_strategy)).removesuffix("_original")
    return frozenset(name for names in OWN.values() for name in names) - frozenset(OWN.get(strategy, ()))


def space(problem: Mapping[str, Any], method: str) -> Space:
    """Return the default search space."""
    del problem, method
    return Space(
        {
            "lr": Float(3e-5, 1e-2, log=True),
            "w_v": Float(0.3, 30.0, log=True),
            "plummet_threshold": Float(0.003, 0.3, log=True),
            "pruning_epoch": Int(20, 1000),
            "use_spectral_norm": Categorical((True, False)),
        }
    )


def resolved(problem: Problem, **more: Any) -> dict[str, Any]:
    """Return a problem as plain data: what it had before there were *designs* keeps its id."""
    return {name: value for name, value in asdict(problem).items() if name != "designs"} | more


PROBLEM_NAMES = tuple(entry.name for entry in fields(Problem))
