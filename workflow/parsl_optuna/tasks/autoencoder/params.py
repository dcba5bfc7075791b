"""Problems, hyperparameters, and the architectures that there are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.load import structure, unstructure
from parsl_optuna.core.space import Categorical, Float, Scalar, Space
from parsl_optuna.tasks import source
from parsl_optuna.tasks.autoencoder.observations import read_observations


@dataclass(frozen=True)
class Problem:
    """A table of class periods and how it is split.

    Attributes:
        data_path: CSV with the 24 COPUS columns; null makes class periods of known kinds.
        n_rows: How many are made.
        missing: Share of missing cells in them.
        data_seed: Of them.
        split: ``holdout``: 80 % train, 20 % test, which selects too, as in the original; ``validation``:
            60 / 20 / 20, selected on the second and told on the third; ``folds``: cross-validation on
            80 %, told on 20 %.
        folds: Of ``folds``.
        split_seed: Of the split.
    """

    data_path: str | None = None
    n_rows: int = 2000
    missing: float = 0.0
    data_seed: int = 0
    split: Literal["holdout", "validation", "folds"] = "holdout"
    folds: int = 5
    split_seed: int = 42

    def __post_init__(self) -> None:
        if self.n_rows < 20:
            raise SpecError(f"n_rows {self.n_rows} must be at least 20")
        if not 0 <= self.missing < 1:
            raise SpecError(f"missing {self.missing} must be in [0, 1)")
        if self.folds < 2:
            raise SpecError(f"folds {self.folds} must be at least 2")


@dataclass(frozen=True)
class Params:
    """Hyperparameters.

    Attributes:
        hidden_dims: Widths of the encoder's hidden layers, ``64-32``; the decoder mirrors them.
        latent_dim: Width of the code.
        epochs: Passes over the training rows.
        batch_size: Rows per step.
        initial_lr: Of AdamW.
        eta_min: At the end of cosine annealing.
        weight_decay: Of AdamW.
        dropout: Share.
        loss: ``sparse``: 0.7 of the error over non-zero cells and 0.3 over all, missing ones as zero, as
            in the original; ``masked``: the error over cells that are there.
        input_norm: ``layer``, as in the original; ``none``; ``standardize`` by training means and stds.
        patience: Stop after so many epochs without a better selection loss; null never stops.
        start_from: Trial of a smaller architecture, on the same problem, whose weights are taken over.
        device: ``auto`` takes a GPU where the worker has one.
        seed: Of weights, order and dropout.
    """

    hidden_dims: str = "64-32"
    latent_dim: int = 3
    epochs: int = 20
    batch_size: int = 32
    initial_lr: float = 1e-3
    eta_min: float = 1e-6
    weight_decay: float = 1e-4
    dropout: float = 0.1
    loss: Literal["sparse", "masked"] = "sparse"
    input_norm: Literal["layer", "none", "standardize"] = "layer"
    patience: int | None = None
    start_from: str | None = None
    device: Literal["auto", "cuda", "cpu"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        widths(self.hidden_dims)
        for name in ("latent_dim", "epochs", "batch_size", "initial_lr"):
            if not getattr(self, name) > 0:
                raise SpecError(f"{name} {getattr(self, name)} must be above 0")
        if not 0 <= self.dropout < 1:
            raise SpecError(f"dropout {self.dropout} must be in [0, 1)")
        if self.patience is not None and self.patience < 1:
            raise SpecError(f"patience {self.patience} must be at least 1")


def widths(text: str) -> tuple[int, ...]:
    """Read ``64-32``.

    Raises:
        SpecError: Not widths above 0 with dashes between.
    """
    parts = text.split("-")
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise SpecError(f"hidden_dims '{text}' must be widths with dashes between, such as 64-32")
    return tuple(int(part) for part in parts)


def architectures(dims: Sequence[int], max_layers: int) -> list[tuple[int, ...]]:
    """Return all non-increasing sequences over *dims* of one to *max_layers* layers.

    For n different dims and L layers there are C(n + L, L) - 1.
    """
    ordered = sorted(set(dims), reverse=True)
    return [
        found
        for length in range(1, max_layers + 1)
        for found in itertools.combinations_with_replacement(ordered, length)
    ]


def n_parameters(hidden: Sequence[int], latent_dim: int, inputs: int) -> int:
    """Return the number of weights: linear layers, their norms, and the norm of the input."""
    total, before = 2 * inputs, inputs
    for width in hidden:
        total += before * width + 3 * width
        before = width
    total += before * latent_dim + latent_dim
    before = latent_dim
    for width in reversed(hidden):
        total += before * width + 3 * width
        before = width
    return total + before * inputs + inputs


def resolve(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check a problem; a file is known by its checksum."""
    problem = structure(Problem, raw, where)
    data = asdict(problem)
    if problem.data_path is not None:
        path, digest = source.hashed(problem.data_path, f"{where}.data_path")
        read_observations(path, f"{where}.data_path: {problem.data_path}")
        data |= {"data_path": source.relative(path), "checksum": digest}
    return data


def complete(
    problem: Mapping[str, Any], method: str, params: Mapping[str, Any], where: str
) -> dict[str, Scalar]:
    """Fill in defaults."""
    del problem, method
    return unstructure(structure(Params, dict(params), where))


def space(problem: Mapping[str, Any], method: str) -> Space:
    """Return the default search space: the architectures, and what trains them."""
    del problem, method
    texts = ["-".join(map(str, one)) for one in architectures((16, 32, 64, 128), 3)]
    return Space(
        {
            "hidden_dims": Categorical(tuple(texts)),
            "initial_lr": Float(1e-4, 1e-2, log=True),
            "dropout": Float(0.0, 0.4),
        }
    )
