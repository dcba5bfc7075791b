"""Targets of `compare`, in functions that torch and jax both compute: runs in every environment.

The first two are those of devinterp's own tests (tests/slt/sampler_accuracy_test.py and rrr_test.py): normal
crossings, and reduced rank regression on noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "crossing 1 1": {"w": (2,)},
    "crossing 1 2": {"w": (2,)},
    "crossing 2 2": {"w": (2,)},
    "rrr 5 3 5": {"a": (3, 5), "b": (5, 3)},
    "network": {"a": (4, 40), "ab": (40,), "b": (40, 40), "bb": (40,), "c": (40, 1), "cb": (1,)},
    "cnn": {"a": (9, 6), "ab": (6,), "b": (54, 8), "bb": (8,), "c": (128, 10), "cb": (10,)},
    "block": {
        "in": (8, 16),
        "at": (8, 16),
        "q": (16, 16),
        "k": (16, 16),
        "v": (16, 16),
        "o": (16, 16),
        "a": (16, 32),
        "ab": (32,),
        "b": (32, 16),
        "bb": (16,),
        "c": (16, 10),
        "cb": (10,),
    },
}
"""Names and shapes of the weights. The CNN has two layers of 3 x 3 filters on 8 x 8 pixels, the block one
attention head over the 8 rows of a digit.
"""

STEP = {"crossing 1 1": 2e-4, "crossing 1 2": 2e-4, "crossing 2 2": 2e-4, "rrr 5 3 5": 6e-5}
"""Step size of SGLD in devinterp's tests; 1e-4 elsewhere."""

GAMMA = {"cnn": 100.0, "block": 100.0}
"""Localization: a prior about as wide as the weights of classifiers are large; 1 elsewhere."""


def outputs(kind: str, w: Mapping[str, Any], x: Any, xp: Any) -> Any:
    """Return the outputs of a model; *xp* is torch or jax.numpy."""
    if kind.startswith("crossing"):
        first, second = (int(power) for power in kind.split()[1:])
        return w["w"][0] ** first * w["w"][1] ** second * x
    if kind.startswith("rrr"):
        return x @ w["a"].T @ w["b"].T
    if kind == "network":
        hidden = xp.tanh(xp.tanh(x @ w["a"] + w["ab"]) @ w["b"] + w["bb"])
        return hidden @ w["c"] + w["cb"]
    if kind == "cnn":
        hidden = _positive(_convolved(x.reshape(-1, 8, 8, 1), w["a"], xp) + w["ab"])
        hidden = _positive(_convolved(hidden, w["b"], xp) + w["bb"])
        return hidden.reshape(len(x), -1) @ w["c"] + w["cb"]
    tokens = x.reshape(-1, 8, 8) @ w["in"] + w["at"]
    scores = xp.einsum("nid,njd->nij", tokens @ w["q"], tokens @ w["k"]) / 4.0
    weights = xp.exp(scores - xp.log(xp.exp(scores).sum(-1))[..., None])
    tokens = tokens + xp.einsum("nij,njd->nid", weights, tokens @ w["v"]) @ w["o"]
    tokens = tokens + xp.tanh(tokens @ w["a"] + w["ab"]) @ w["b"] + w["bb"]
    return tokens.mean(1) @ w["c"] + w["cb"]


def losses(kind: str, w: Mapping[str, Any], x: Any, y: Any, xp: Any) -> Any:
    """Return the loss of every example ``(n,)``; *y* is one-hot where it is a class."""
    out = outputs(kind, w, x, xp)
    if kind in ("cnn", "block"):
        top = out.max(-1).values if xp.__name__ == "torch" else out.max(-1)
        shifted = out - top[:, None]
        return xp.log(xp.exp(shifted).sum(-1)) - (shifted * y).sum(-1)
    squares = (out - y) ** 2
    return squares.reshape(len(squares), -1).mean(1)


def split(kind: str, flat: Any) -> dict[str, Any]:
    """Return the weights of a flat vector by name."""
    found, at = {}, 0
    for name, shape in SHAPES[kind].items():
        size = int(np.prod(shape))
        found[name] = flat[at : at + size].reshape(shape)
        at += size
    return found


def read(path: str) -> dict[str, Any]:
    """Return kind, inputs, targets and flat weights of a file of `compare`."""
    with np.load(path) as arrays:
        return {name: arrays[name] if arrays[name].ndim else arrays[name].item() for name in arrays.files}


def _convolved(images: Any, filters: Any, xp: Any) -> Any:
    """Return 3 x 3 filters ``(9 channels, out)`` of *images* ``(n, h, w, channels)``, by the library's own.

    In torch that takes 0.4 times as long as a product with all patches, in jax with several chains 0.8 times.
    """
    shaped = filters.reshape(3, 3, images.shape[-1], -1)
    if xp.__name__ == "torch":
        moved = xp.nn.functional.conv2d(images.permute(0, 3, 1, 2), shaped.permute(3, 2, 0, 1))
        return moved.permute(0, 2, 3, 1)
    import jax  # noqa: PLC0415  # pyright: ignore[reportMissingImports]

    return jax.lax.conv_general_dilated(
        images, shaped, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _positive(values: Any) -> Any:
    return values * (values > 0)
