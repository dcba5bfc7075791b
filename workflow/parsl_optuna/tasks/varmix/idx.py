"""MNIST's files: images and labels in the format IDX, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parsl_optuna.core.errors import TaskError

_UINT8 = 0x08
"""Type code of unsigned bytes in an IDX file."""

_MOST_LABEL = 9
"""Labels are digits."""


class Pair(NamedTuple):
    """Images ``(n, rows, columns)`` and their labels ``(n,)``."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Return the images as rows ``(n, pixels)``."""
        return self.images.reshape(len(self.images), -1)


def read_pair(images: Path, labels: Path) -> Pair:
    """Read images and their labels.

    Raises:
        TaskError: One is no such file, they do not fit, or there is nothing to learn or to compare with.
    """
    pixels, digits = read_idx(images, 3), read_idx(labels, 1)
    if 0 in pixels.shape:
        raise TaskError(f"{images}: has no pixels: its head says {' x '.join(map(str, pixels.shape))}")
    if len(digits) != len(pixels):
        raise TaskError(f"{labels}: has {len(digits)} labels, and {images.name} has {len(pixels)} images")
    if digits.max() > _MOST_LABEL:
        raise TaskError(
            f"{labels}: labels go up to {digits.max()}; they have to be digits, 0 to {_MOST_LABEL}"
        )
    if (pixels == pixels[0]).all():
        raise TaskError(f"{images}: all images are equal; there is nothing to learn")
    if (digits == digits[0]).all():
        raise TaskError(f"{labels}: all labels are {digits[0]}; clusters are compared with them")
    return Pair(pixels, digits)


def read_idx(path: Path, dims: int) -> NDArray[np.uint8]:
    """Read an IDX file of bytes, plain or gzipped.

    Raises:
        TaskError: Not such a file, another number of dimensions, or cut short.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise TaskError(f"{path}: is cut short or damaged ({error}); fetch it again") from error
    if len(content) < 4 + 4 * dims or content[:4] != bytes([0, 0, _UINT8, dims]):
        raise TaskError(f"{path}: is not an IDX file of bytes with {dims} dimensions")
    shape = struct.unpack(f">{dims}I", content[4 : 4 + 4 * dims])
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dims)
    if len(values) != math.prod(shape):
        raise TaskError(f"{path}: holds {len(values)} values where its head says {shape}")
    return values.reshape(shape)
