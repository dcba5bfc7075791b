"""Images of digits as counts 0 to 16: scikit-learn's, or MNIST's files."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from parsl_optuna.core.errors import TaskError
from parsl_optuna.tasks import source

TRIALS = 16
"""Pixels are binomial counts of so many trials."""

_UINT8 = 0x08
"""Type code of unsigned bytes in an IDX file."""


def make(problem: Mapping[str, Any], folder: Path) -> None:
    """Write ``images.npy`` ``(n, pixels)`` and ``labels.npy`` ``(n,)``, uint8."""
    if problem["data"] == "digits":
        from sklearn.datasets import load_digits  # noqa: PLC0415

        bunch: Any = load_digits()
        images, labels = bunch.data, bunch.target
    else:
        paths = {name: source.unchanged(f["path"], f["checksum"]) for name, f in problem["files"].items()}
        pixels = read_idx(paths["train-images"], 3)
        images = np.round(pixels.reshape(len(pixels), -1) * (TRIALS / 255.0))
        labels = read_idx(paths["train-labels"], 1)
        if len(labels) != len(images) or labels.max() > 9:
            raise TaskError(f"{paths['train-labels']}: {len(labels)} labels do not fit {len(images)} images")
    images, labels = images[: problem["n_images"]], labels[: problem["n_images"]]
    np.save(folder / "images.npy", images.astype(np.uint8), allow_pickle=False)
    np.save(folder / "labels.npy", labels.astype(np.uint8), allow_pickle=False)


def read_idx(path: Path, dims: int) -> NDArray[np.uint8]:
    """Read an IDX file of bytes, plain or gzipped.

    Raises:
        TaskError: Not such a file, another number of dimensions, or cut short.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    if len(content) < 4 + 4 * dims or content[:4] != bytes([0, 0, _UINT8, dims]):
        raise TaskError(f"{path}: is not an IDX file of bytes with {dims} dimensions")
    shape = struct.unpack(f">{dims}I", content[4 : 4 + 4 * dims])
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dims)
    if len(values) != np.prod(shape):
        raise TaskError(f"{path}: holds {len(values)} values where its head says {shape}")
    return values.reshape(shape)


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
