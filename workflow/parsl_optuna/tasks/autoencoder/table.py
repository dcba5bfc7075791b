"""The table of class periods: read or made, split, scaled by what the training rows say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from parsl_optuna.tasks import source
from parsl_optuna.tasks.autoencoder.columns import periods
from parsl_optuna.tasks.autoencoder.observations import read_observations

_LOW, _HIGH = 0.01, 0.99
"""Quantiles that columns are clipped to: one wrong entry must not set the scale of a column."""


def make(problem: Mapping[str, Any], folder: Path) -> None:
    """Write ``rows.npy``, ``(n, 24)`` percentages, NaN where missing; ``kinds.npy`` where they are known."""
    if problem["data_path"] is None:
        rows, kinds = periods(problem["n_rows"], problem["missing"], problem["data_seed"])
        np.save(folder / "kinds.npy", kinds, allow_pickle=False)
    else:
        path = source.unchanged(problem["data_path"], problem["checksum"])
        rows = read_observations(path, str(problem["data_path"]))
    np.save(folder / "rows.npy", rows.astype(np.float64), allow_pickle=False)


@dataclass(frozen=True)
class Part:
    """Rows ``(n, 24)`` scaled to [0, 1], zero where missing, and a mask of what is there."""

    values: Tensor
    there: Tensor

    def to(self, device: torch.device) -> Part:
        """Return the rows on a device."""
        return Part(self.values.to(device), self.there.to(device))


@dataclass(frozen=True)
class Fold:
    """What one model trains on, is selected on, and is told on."""

    train: Part
    select: Part
    test: Part

    def to(self, device: torch.device) -> Fold:
        """Return the parts on a device."""
        return Fold(self.train.to(device), self.select.to(device), self.test.to(device))


def folds(problem: Mapping[str, Any], folder: Path) -> list[Fold]:
    """Return the folds of a prepared problem, each scaled by its own training rows."""
    rows = np.load(folder / "rows.npy", allow_pickle=False)
    order = torch.randperm(len(rows), generator=Generator().manual_seed(problem["split_seed"])).numpy()
    n_test = int(0.2 * len(rows))
    test, rest = order[len(rows) - n_test :], order[: len(rows) - n_test]
    if problem["split"] == "holdout":
        return [_scaled(rows, rest, test, test)]
    if problem["split"] == "validation":
        return [_scaled(rows, rest[: len(rest) - n_test], rest[len(rest) - n_test :], test)]
    parts = np.array_split(rest, problem["folds"])
    return [
        _scaled(rows, np.concatenate([*parts[:i], *parts[i + 1 :]]), part, test)
        for i, part in enumerate(parts)
    ]


def _scaled(
    rows: NDArray[np.float64],
    train: NDArray[np.int64],
    select: NDArray[np.int64],
    test: NDArray[np.int64],
) -> Fold:
    """Scale by the 1st and 99th percentile of the training rows; by their largest where those are equal."""
    known = rows[train]
    low, high = (np.nan_to_num(np.nanquantile(known, q, axis=0)) for q in (_LOW, _HIGH))
    most = np.nan_to_num(np.nanmax(known, axis=0))
    flat = high <= low
    low, high = np.where(flat, 0.0, low), np.where(flat, np.where(most > 0, most, 1.0), high)

    def part(index: NDArray[np.int64]) -> Part:
        values = np.clip((rows[index] - low) / (high - low), 0.0, 1.0)
        there = ~np.isnan(rows[index])
        return Part(torch.from_numpy(np.nan_to_num(values)).float(), torch.from_numpy(there))

    return Fold(part(train), part(select), part(test))
