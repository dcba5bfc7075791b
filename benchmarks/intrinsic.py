"""Which dimension is read from designs alone? Twelve families that were invented after the rule was fixed.

    .venv/bin/python -m benchmarks.intrinsic

400 designs each, three seeds; seconds in all. What the default strategy of `lvae` prunes to is this number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from parsl_optuna.tasks.lvae.intrinsic import intrinsic_dim

Array = NDArray[np.float64]
COUNT = 400
_GRID = np.linspace(0.0, 1.0, 24)
_X, _Y = np.meshgrid(_GRID, _GRID)
_LINE = np.linspace(0.0, 1.0, 60)


def _soft(depth: Array) -> Array:
    """Return densities of pixels that are so far inside of an edge."""
    return 1.0 / (1.0 + np.exp(-depth / 0.03))


def _turned(x: float, y: float, angle: float) -> tuple[Array, Array]:
    """Return the pixels' coordinates along and across an axis through a point."""
    along = (_X - x) * np.cos(angle) + (_Y - y) * np.sin(angle)
    return along, (_Y - y) * np.cos(angle) - (_X - x) * np.sin(angle)


def _mixed(points: Array, dimension: int, seed: int) -> Array:
    """Return points in a space of more dimensions, by a linear map."""
    return points @ np.random.default_rng(seed).normal(size=(points.shape[1], dimension))


def _bar(x: float, y: float, angle: float, length: float) -> Array:
    along, across = _turned(0.3 + 0.4 * x, 0.3 + 0.4 * y, 2.5 * angle)
    return _soft(np.minimum(0.1 + 0.15 * length - abs(along), 0.06 - abs(across)))


def _ellipse(x: float, y: float, a: float, b: float, angle: float) -> Array:
    along, across = _turned(0.35 + 0.3 * x, 0.35 + 0.3 * y, 1.5 * angle)
    return _soft(0.05 * (1.0 - np.hypot(along / (0.1 + 0.1 * a), across / (0.22 + 0.1 * b))))


def _two_peaks(m: float, n: float, s: float, t: float, w: float) -> Array:
    first = np.exp(-((_LINE - 0.15 - 0.2 * m) ** 2) / (2 * (0.03 + 0.04 * s) ** 2))
    second = np.exp(-((_LINE - 0.65 - 0.2 * n) ** 2) / (2 * (0.03 + 0.04 * t) ** 2))
    return (0.3 + 0.7 * w) * first + (1.0 - 0.7 * w) * second


def _grating(frequency: float, phase: float, angle: float) -> Array:
    return np.sin((6.0 + 8.0 * frequency) * (_X * np.cos(angle) + _Y * np.sin(angle)) + 2.5 * phase)


def _oscillation(size: float, frequency: float, decay: float) -> Array:
    return (0.5 + size) * np.sin(2 * np.pi * (1.0 + frequency) * _LINE) * np.exp(-3.0 * decay * _LINE)


def _disk(place: float, radius: float) -> Array:
    return _soft(0.1 + 0.15 * radius - np.hypot(_X - 0.25 - 0.5 * place, _Y - 0.5))


def families(stream: np.random.Generator) -> dict[tuple[str, int], Array]:
    """Return designs ``(n, pixels)`` by name and true dimension."""

    def drawn(count: int) -> Array:
        return stream.random((COUNT, count))

    def each(shape: object, count: int) -> Array:
        return np.array([shape(*one) for one in drawn(count)]).reshape(COUNT, -1)  # type: ignore[operator]

    first, second = 2 * np.pi * drawn(2).T
    ring = np.c_[(2 + np.cos(first)) * np.cos(second), (2 + np.cos(first)) * np.sin(second), np.sin(first)]
    sphere = stream.normal(size=(COUNT, 4))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    turn, width = 2 * np.pi * drawn(1)[:, 0], drawn(1)[:, 0] - 0.5
    reach = 1 + width * np.cos(turn / 2)
    strip = np.c_[reach * np.cos(turn), reach * np.sin(turn), width * np.sin(turn / 2)]
    helix = drawn(1)
    powers = np.array([np.linspace(-1, 1, 40) ** power for power in range(5)])
    noise = 0.01 * stream.normal(size=(COUNT, _X.size))
    return {
        ("bar: place, angle, length", 4): each(_bar, 4),
        ("grating: frequency, phase, angle", 3): each(_grating, 3),
        ("torus in 10 dimensions", 2): _mixed(ring, 10, 1),
        ("3-sphere in 8 dimensions", 3): _mixed(sphere, 8, 2),
        ("polynomials of degree 4", 5): (2 * drawn(5) - 1) @ powers,
        ("ellipse: place, axes, angle", 5): each(_ellipse, 5),
        ("damped oscillation", 3): each(_oscillation, 3),
        ("two peaks of a curve", 5): each(_two_peaks, 5),
        ("Moebius strip in 6 dimensions", 2): _mixed(strip, 6, 3),
        ("linear in 50 dimensions", 6): _mixed(stream.normal(size=(COUNT, 6)), 50, 4),
        ("helix", 1): np.c_[np.cos(9 * helix), np.sin(9 * helix), helix],
        ("disk on a line, noise of 1 %", 2): each(_disk, 2) + noise,
    }


def main() -> None:
    """Print a row per family; a dash is no answer, where `plummet` takes over."""
    print("| family | dimension | read, seeds 1, 2, 3 |\n|---|---|---|")
    found: dict[tuple[str, int], list[str]] = {}
    for seed in (1, 2, 3):
        for key, designs in families(np.random.default_rng(seed)).items():
            found.setdefault(key, []).append(str(intrinsic_dim(designs) or "-"))
    for (name, dimension), read in found.items():
        print(f"| {name} | {dimension} | {', '.join(read)} |")


if __name__ == "__main__":
    main()
