"""Images of digits as counts 0 to 16: scikit-learn's, or MNIST's files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from parsl_optuna.tasks import source
from parsl_optuna.tasks.varmix.idx import read_pair

TRIALS = 16
"""Pixels are binomial counts of so many trials."""


def make(problem: Mapping[str, Any], folder: Path) -> None:
    """Write ``images.npy`` ``(n, pixels)`` and ``labels.npy`` ``(n,)``, uint8.

    A test set that has files of its own goes to ``test-images.npy`` and ``test-labels.npy``.
    """
    limit = problem["n_images"]
    if problem["data"] == "digits":
        from sklearn.datasets import load_digits  # noqa: PLC0415

        bunch: Any = load_digits()
        _write(folder, "", bunch.data[:limit], bunch.target[:limit])
        return
    images, labels = _counts(problem["files"], "train")
    _write(folder, "", images[:limit], labels[:limit])
    if _has_test_set(problem):
        _write(folder, "test-", *_counts(problem["files"], "t10k"))


def _has_test_set(problem: Mapping[str, Any]) -> bool:
    return "t10k-images" in problem.get("files", {})


def _counts(files: Mapping[str, Any], part: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return counts ``(n, pixels)`` and labels of MNIST's pair *part*."""
    found = (files[f"{part}-{name}"] for name in ("images", "labels"))
    pair = read_pair(*(source.unchanged(file["path"], file["checksum"]) for file in found))
    return np.round(pair.pixels * (TRIALS / 255.0)), pair.labels


def _write(folder: Path, part: str, images: NDArray[Any], labels: NDArray[Any]) -> None:
    np.save(folder / f"{part}images.npy", images.astype(np.uint8), allow_pickle=False)
    np.save(folder / f"{part}labels.npy", labels.astype(np.uint8), allow_pickle=False)


def _saved(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    images, labels = (
        np.load(folder / f"{part}{name}.npy", allow_pickle=False) for name in ("images", "labels")
    )
    return torch.from_numpy(images).float(), torch.from_numpy(labels).long()


@dataclass(frozen=True)
class Images:
    """Counts ``(n, pixels)`` for training and for measuring; labels ``(n,)`` of the latter, on the CPU."""

    train: Tensor
    test: Tensor
    test_labels: Tensor

    def to(self, device: torch.device) -> Images:
        """Return the counts on a device."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))


def split(problem: Mapping[str, Any], folder: Path) -> Images:
    """Read a prepared problem; split it where it has no test set of its own."""
    images, labels = _saved(folder, "")
    if _has_test_set(problem):
        return Images(images, *_saved(folder, "test-"))
    stream = Generator("cpu").manual_seed(problem["data_seed"])
    order = torch.randperm(len(images), generator=stream, device="cpu")
    count = round((1 - problem["test_share"]) * len(images))
    train, test = order[:count], order[count:]
    return Images(images[train], images[test], labels[test])
