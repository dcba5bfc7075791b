"""Encoder and decoder, for square images and for vectors."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from parsl_optuna.tasks.lvae.spectral import Spectral, SpectralLinear, SpectralUpsampling

_SLOPE = 0.2
"""Of leaky ReLUs, as in DCGAN (Radford, Metz & Chintala 2016, arXiv:1511.06434)."""

_STEEPNESS = 4.0
"""sigmoid(4 x) has slope at most one."""

_LEAST_SIDE = 4
"""Pixels to which strided convolutions shrink an image: the size of one kernel."""


class Decoder(nn.Module):
    """Lipschitz-bounded: every layer is, no normalisation in between, and the input is scaled by the bound.

    Args:
        latent_dim: Number of codes.
        shape: Of one design: ``(1, side, side)`` or ``(length,)``.
        width: Channels of the last hidden layer, or units of vectors' layers.
        bound: Lipschitz constant.
        bounded: Whether it holds at all: without, the layers are plain.
        unit_range: Whether outputs lie in [0, 1].
        stream: Of the initial weights.
    """

    def __init__(
        self,
        latent_dim: int,
        shape: tuple[int, ...],
        width: int,
        bound: float,
        *,
        bounded: bool,
        unit_range: bool,
        stream: Generator,
    ) -> None:
        super().__init__()
        self._bound, self._unit_range = bound, unit_range
        layers: list[nn.Module] = []
        if len(shape) == 1:
            sizes = [latent_dim, width, width, shape[0]]
            for inputs, outputs in itertools.pairwise(sizes):
                layers.append(SpectralLinear(inputs, outputs, stream, normalise=bounded))
            self._first = None
        else:
            side, channels = _smallest(shape[-1]), width * shape[-1] // _smallest(shape[-1]) // 2
            channels = max(channels, 1)
            self._first = (channels, side, side)
            layers.append(SpectralLinear(latent_dim, channels * side * side, stream, normalise=bounded))
            while side < shape[-1]:
                after = max(channels // 2, 1) if 2 * side < shape[-1] else 1
                layers.append(SpectralUpsampling(channels, after, side, stream, normalise=bounded))
                channels, side = after, 2 * side
        self.layers = nn.ModuleList(layers)

    def forward(self, codes: Tensor) -> Tensor:
        """Return designs for ``(batch, latent_dim)`` codes."""
        x = self._bound * codes
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index == 0 and self._first is not None:
                x = x.view(-1, *self._first)
            if index < len(self.layers) - 1:
                x = functional.leaky_relu(x, _SLOPE)
        return torch.sigmoid(_STEEPNESS * (x - 0.5)) if self._unit_range else x

    @property
    def first(self) -> SpectralLinear:
        """The layer at the codes."""
        layer = self.layers[0]
        assert isinstance(layer, SpectralLinear)
        return layer

    def refine(self, rounds: int) -> None:
        """Sharpen the spectral norms, so that the bound holds to rounding."""
        for layer in self.layers:
            assert isinstance(layer, Spectral)
            layer.refine(rounds)


def encoder(latent_dim: int, shape: tuple[int, ...], width: int) -> nn.Sequential:
    """Return an encoder; no bound, since only the decoder's matters."""
    if len(shape) == 1:
        return nn.Sequential(
            nn.Linear(shape[0], width),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(width, width),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(width, latent_dim),
        )
    layers: list[nn.Module] = []
    side, channels, after = shape[-1], 1, max(width // 2, 1)
    while side > _smallest(shape[-1]):
        layers += [nn.Conv2d(channels, after, 4, 2, 1), nn.LeakyReLU(_SLOPE)]
        side, channels, after = side // 2, after, 2 * after
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side * side, latent_dim))


def _smallest(side: int) -> int:
    """Return the side that *side* comes to by halving, at least four."""
    return side // 2 ** max(int(math.log2(side / _LEAST_SIDE)), 0)
