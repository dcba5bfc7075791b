"""Folders of images as designs: one channel, values from 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parsl_optuna.core.errors import TaskError

Array = NDArray[np.float64]

IMAGES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".webp")
"""Endings of what is taken for an image."""

_LARGEST = {"1": 1.0, "L": 255.0, "I;16": 65535.0, "I;16B": 65535.0, "I;16L": 65535.0, "I": 65535.0, "F": 1.0}
"""White, by Pillow's mode of one channel."""

_DARK = 1 / 255
"""A set of pictures whose lightest pixel is no lighter was saved with another white: masks of 0 and 1 in
8 bits, or values of 8 bits in 16.
"""


def read_images(paths: Sequence[Path]) -> Array:
    """Return ``(n, rows, columns)``.

    Raises:
        TaskError: One cannot be read, has colours, is transparent, or has another size than the first; or
            all are black but for the last of 255 levels.
    """
    found: list[Array] = []
    for path in paths:
        image = _read(path)
        if found and image.shape != found[0].shape:
            first, other = (" x ".join(map(str, one.shape)) for one in (found[0], image))
            raise TaskError(f"{path}: is {other} pixels, and {paths[0].name} is {first}; make them one size")
        found.append(image)
    designs = np.stack(found)
    lightest = float(designs.max())
    if 0 < lightest <= _DARK and _is_whole(paths[0]):
        raise TaskError(
            f"{paths[0].parent}: its lightest pixel has {lightest:.2g} of white; white is 255 of 8 bits and "
            "65535 of 16: save masks of 0 and 1, or levels of 8 bits, so that 1 is white, or as .npy"
        )
    return designs


def _is_whole(path: Path) -> bool:
    """Whether an image has levels, of which white is the last, and not real numbers."""
    from PIL import Image  # noqa: PLC0415

    with Image.open(path) as image:
        return image.mode != "F"


def _read(path: Path) -> Array:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415

    try:
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise TaskError(f"{path}: holds {image.n_frames} pictures; split them into files")  # type: ignore[attr-defined]
            # A level of grey can be declared transparent, without a channel for that.
            if image.mode in _LARGEST and "transparency" not in image.info:
                return np.asarray(image, dtype=np.float64) / _LARGEST[image.mode]
            pixels = np.asarray(image.convert("RGBA"), dtype=np.float64) / 255.0
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise TaskError(f"{path}: cannot be read as an image: {error}") from error
    if np.ptp(pixels[..., :3], axis=2).max() > 0:
        raise TaskError(f"{path}: has colours; convert it to grey levels")
    if pixels[..., 3].min() < 1:
        raise TaskError(f"{path}: is transparent in places; put it on a background")
    return pixels[..., 0]
