"""Five families of designs for `benchmarks.dimensions`, on which nothing was developed.

They were written down before the training of `neighbours` took its present form, and first used after it.

All parameters are uniform on [0, 1] and none is periodic; edges are soft, 2 pixels of 24.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_AXIS = (np.arange(24) + 0.5) / 24
_X, _Y = np.meshgrid(_AXIS, _AXIS)


def _columns(p: Array) -> list[Array]:
    return [p[:, index, None, None] for index in range(p.shape[1])]


def _solid(depth: Array) -> Array:
    """Return 1 where the depth inside, in units of the side, is positive."""
    return 1 / (1 + np.exp(-48 * depth))


def _inside_box(x: Array, y: Array, half_width: Array, half_height: Array) -> Array:
    return np.minimum(half_width - abs(x), half_height - abs(y))


def i_section(p: Array) -> Array:
    """An I-beam's section: width and thickness of its flanges, thickness of its web, height."""
    width, flange, web, height = _columns(p)
    half = 0.25 + 0.17 * height
    thick = 0.05 + 0.07 * flange
    flanges = _inside_box(_X - 0.5, abs(_Y - 0.5) - half + thick, 0.2 + 0.22 * width, thick)
    return _solid(np.maximum(flanges, _inside_box(_X - 0.5, _Y - 0.5, 0.03 + 0.09 * web, half)))


def star(p: Array) -> Array:
    """A rounded star: its radius, and how far its three and its five lobes stand out."""
    radius, three, five = _columns(p)
    x, y = _X - 0.5, _Y - 0.5
    angle = np.arctan2(y, x)
    lobes = 0.3 * three * np.cos(3 * angle) + 0.25 * five * np.sin(5 * angle)
    return _solid((0.18 + 0.12 * radius) * (1 + lobes) - np.hypot(x, y))


def struts(p: Array) -> Array:
    """Two bars from the lower corners to a joint: its place, and the bars' thickness."""
    x, y, thick = _columns(p)
    joint = np.stack([0.3 + 0.4 * x, 0.15 + 0.4 * y], axis=-1)
    pixels = np.stack([_X, _Y], axis=-1)[None]

    def distance(corner: float) -> Array:
        foot = np.array([corner, 0.92])
        bar = joint - foot
        along = ((pixels - foot) * bar).sum(-1) / (bar * bar).sum(-1)
        return np.linalg.norm(pixels - foot - np.clip(along, 0, 1)[..., None] * bar, axis=-1)

    return _solid(0.04 + 0.06 * thick - np.minimum(distance(0.08), distance(0.92)))


def source(p: Array) -> Array:
    """A temperature: a warm spot by its place, on a slope by its steepness."""
    x, y, steep = _columns(p)
    spot = np.exp(-((_X - 0.3 - 0.4 * x) ** 2 + (_Y - 0.3 - 0.4 * y) ** 2) / (2 * 0.18**2))
    return 0.6 * spot + 0.4 * steep * _X


def arc(p: Array) -> Array:
    """Thirty points of an arc in the plane, as a vector: its radius, where it begins, how far it goes."""
    radius, begin, span = p.T[:, :, None]
    angle = 1.2 * begin + (1.0 + 2.0 * span) * np.linspace(0, 1, 30)
    reach = 0.4 + 0.6 * radius
    return np.hstack([reach * np.cos(angle), reach * np.sin(angle)])


FRESH: dict[str, tuple[Callable[[Array], Array], int]] = {
    "i_section": (i_section, 4), "star": (star, 3), "struts": (struts, 3), "source": (source, 3),
    "arc": (arc, 3),
}  # fmt: skip
