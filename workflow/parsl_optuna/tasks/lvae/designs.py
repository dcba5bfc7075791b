"""Sets of designs whose intrinsic dimension is known, and those that are solved or loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsl_optuna.core.errors import TaskError
from parsl_optuna.tasks.lvae import files, solved
from parsl_optuna.tasks.lvae.areas import resized

Array = NDArray[np.float64]

_EDGE = 2.0
"""Width of soft edges in pixels: sharp ones would make a manifold rough at every scale."""

_ROUNDING = 1e-6
"""So far outside of [0, 1] a solver's rounding may end."""


@dataclass(frozen=True)
class Family:
    """A kind of design.

    Attributes:
        make: ``(parameters (n, dim) in [0, 1], side) -> (n, side, side)`` or ``(n, length)``.
        dim: Number of parameters.
    """

    make: Callable[[Array, int], Array]
    dim: int


def _soft(distance: Array) -> Array:
    """Return 1 inside (negative distance, in pixels), 0 outside."""
    return 1.0 / (1.0 + np.exp(4.0 * distance / _EDGE))


def _axes(side: int) -> tuple[Array, Array]:
    axis = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(axis, axis, indexing="xy")
    return x, y


def _disk(p: Array, side: int) -> Array:
    """Centre, radius, aspect, angle, as many as there are."""
    x, y = _axes(side)
    full = np.hstack([p, np.full((len(p), 5 - p.shape[1]), 0.5)])
    cx, cy = (0.3 + 0.4 * full[:, i, None, None] for i in (0, 1))
    radius = 0.12 + 0.14 * full[:, 2, None, None]
    aspect = (
        np.exp(0.5 * (full[:, 3, None, None] - 0.5)) if p.shape[1] < 5 else 1.2 + 0.6 * full[:, 3, None, None]
    )
    angle = (full[:, 4, None, None] - 0.5) * np.pi / 2
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
    return _soft((np.hypot(u / aspect, v * aspect) - radius) * side)


def _bars(p: Array, side: int) -> Array:
    """Two bars from the left to the right edge, by the heights of their ends."""
    x, y = _axes(side)
    found = np.zeros((len(p), side, side))
    for i, low in ((0, 0.1), (2, 0.55)):
        left, right = (low + 0.35 * p[:, j, None, None] for j in (i, i + 1))
        found = np.maximum(found, _soft((np.abs(y - left - (right - left) * x) - 0.06) * side))
    return found


def _frame(p: Array, side: int) -> Array:
    """A hollow superellipse, by its two half-axes and its thickness."""
    x, y = _axes(side)
    a, b = (0.22 + 0.2 * p[:, i, None, None] for i in (0, 1))
    thickness = 0.06 + 0.08 * p[:, 2, None, None]
    level = (np.abs((x - 0.5) / a) ** 4 + np.abs((y - 0.5) / b) ** 4) ** 0.25
    return _soft((np.abs(level - 1.0) * np.minimum(a, b) - thickness / 2) * side)


def _linear(p: Array, side: int) -> Array:
    """Smooth fields, orthogonal, with falling amplitudes: the case in which PCA is the answer."""
    x, y = _axes(side)
    waves = [np.cos(np.pi * i * x) * np.cos(np.pi * j * y) for i, j in ((1, 0), (0, 1), (1, 1), (2, 0))]
    fields = np.stack([wave / np.linalg.norm(wave) * side for wave in waves])
    return np.einsum("nd,dij->nij", (p - 0.5) * 0.8 ** np.arange(4), fields)


def _curve(p: Array, side: int) -> Array:
    del side
    x = p[:, :1] - 0.5
    return np.hstack([x, 10 * (x - 0.4) * x * (x + 0.35)])


def _space_curve(p: Array, side: int) -> Array:
    del side
    x = p[:, :1] - 0.5
    return np.hstack([x, x + 5 * x**3, x**2])


def _sheet(p: Array, side: int) -> Array:
    del side
    x, y = p[:, :1] - 0.5, p[:, 1:]
    return np.hstack([x, y, 10 * (x - 0.3) * x * (x + 0.3)])


FAMILIES = {
    "linear": Family(_linear, 4),
    "disk2": Family(_disk, 2),
    "disk3": Family(_disk, 3),
    "disk5": Family(_disk, 5),
    "bars": Family(_bars, 4),
    "frame": Family(_frame, 3),
    "curve": Family(_curve, 1),
    "space_curve": Family(_space_curve, 1),
    "sheet": Family(_sheet, 2),
}
"""What can be made here at once; `solved.SOLVERS` are made too, and take a solver."""


def make(problem: Mapping[str, Any], folder: Path) -> None:
    """Write designs ``(n, 1, side, side)`` or ``(n, length)``, float32.

    ``designs.npy`` has all of them; where their file has splits, ``train.npy`` and ``val.npy`` have those.
    """
    for name, designs in _made(problem, folder).items():
        whole = designs[:, None] if designs.ndim == 3 else designs
        np.save(folder / f"{_FILES[name]}.npy", whole.astype(np.float32), allow_pickle=False)


_FILES = {"all": "designs", "train": "train", "val": "val"}


def _made(problem: Mapping[str, Any], folder: Path) -> files.Splits:
    side = problem["resolution"]
    if problem["file"] is not None:
        path = files.unchanged(problem["file"])
        return fitted(problem, files.read(path), path)
    name, stream = problem["problem_id"], np.random.default_rng(problem["data_seed"])
    if name in solved.SOLVERS:
        parameters = stream.random((problem["n_designs"], solved.SOLVERS[name][1]))
        return {"all": solved.designs(name, parameters, side, folder.parent)}
    family = FAMILIES[name]
    return {"all": family.make(stream.random((problem["n_designs"], family.dim)), side)}


def fitted(problem: Mapping[str, Any], found: files.Splits, path: Path) -> files.Splits:
    """Return the designs of a file, images at their problem's resolution.

    Raises:
        TaskError: They have values that the decoder cannot give back: these are not clipped.
    """
    low = min(float(part.min()) for part in found.values())
    high = max(float(part.max()) for part in found.values())
    if problem["unit_range"] and (low < -_ROUNDING or high > 1 + _ROUNDING):
        are_whole = all(bool((np.mod(part, 1) == 0).all()) for part in found.values())
        raise TaskError(
            f"{path}: designs of {problem['problem_id']} are densities from 0 to 1, and these go from "
            f"{low:.4g} to {high:.4g}; scale them, {_scale(low, high, are_whole=are_whole)} does, "
            "or say unit_range: false"
        )
    if problem["is_vector"]:
        return found
    side = problem["resolution"]
    return {name: resized(part, side, side) for name, part in found.items()}


def _scale(low: float, high: float, *, are_whole: bool) -> str:
    """Return a formula that brings values into [0, 1]; levels of 8 or 16 bits have their own white."""
    white = next((one for one in (255, 65535) if are_whole and one / 2 < high <= one), high)
    if low >= 0 and (are_whole or low == 0):
        return f"x / {white:g}"
    return f"(x {'-' if low > 0 else '+'} {abs(low):.4g}) / {high - low:.4g}"
