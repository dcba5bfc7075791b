"""Images of digits as counts 0 to 16: scikit-learn's, or MNIST's files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from parsl_optuna.tasks import source
from parsl_optuna.tasks.varmix.idx import read_pair

TRIALS = 16
"""Pixels are binomial counts of so many trials."""


def make(problem: Mapping[str, Any], folder: Path) -> None:
    """Write ``images.npy`` ``(n, pixels)`` and ``labels.npy`` ``(n,)``, uint8."""
    if problem["data"] == "digits":
        from sklearn.datasets import load_digits  # noqa: PLC0415

        bunch: Any = load_digits()
        images, labels = bunch.data, bunch.target
    else:
        paths = {name: source.unchanged(f["path"], f["checksum"]) for name, f in problem["files"].items()}
        pixels, labels = read_pair(paths["train-images"], paths["train-labels"])
        images = np.round(pixels * (TRIALS / 255.0))
    images, labels = images[: problem["n_images"]], labels[: problem["n_images"]]
    np.save(folder / "images.npy", images.astype(np.uint8), allow_pickle=False)
    np.save(folder / "labels.npy", labels.astype(np.uint8), allow_pickle=False)


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
    """Read and split a prepared problem."""
    images = torch.from_numpy(np.load(folder / "images.npy", allow_pickle=False)).float()
    labels = torch.from_numpy(np.load(folder / "labels.npy", allow_pickle=False)).long()
    stream = Generator("cpu").manual_seed(problem["data_seed"])
    order = torch.randperm(len(images), generator=stream, device="cpu")
    count = round((1 - problem["test_share"]) * len(images))
    train, test = order[:count], order[count:]
    return Images(images[train], images[test], labels[test])
