"""The autoencoder, its losses, and what a larger one takes over from a smaller one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

_EPS = 1e-6
"""Of layer normalisation: constant rows of a sparse table are divided by its root."""

_SPARSE, _ALL = 0.7, 0.3
"""Weights of the error on non-zero entries and on all: the loss of the founding document."""


class Autoencoder(nn.Module):
    """Linear, layer norm, ReLU, dropout per hidden layer; bare linear maps to the code and to the output.

    Args:
        inputs: Number of columns.
        hidden: Widths of the encoder; the decoder has them in reverse.
        latent_dim: Width of the code.
        dropout: Share.
        centre: ``(inputs,)`` subtracted from the input, and its scale; None takes a layer norm, and
            a scale of zero leaves the input alone.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        latent_dim: int,
        dropout: float,
        centre: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs, eps=_EPS)
        self._has_norm = centre is None
        zero, one = torch.zeros(inputs), torch.ones(inputs)
        self.register_buffer("centre", zero if centre is None else centre[0])
        self.register_buffer("scale", one if centre is None else centre[1])
        self.encoder = nn.Sequential(*_blocks([inputs, *hidden], dropout), nn.Linear(hidden[-1], latent_dim))
        mirrored = [latent_dim, *reversed(hidden)]
        self.decoder = nn.Sequential(*_blocks(mirrored, dropout), nn.Linear(hidden[0], inputs))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def encode(self, x: Tensor) -> Tensor:
        """Return codes ``(batch, latent_dim)``."""
        x = self.norm(x) if self._has_norm else (x - self.centre) / self.scale
        return self.encoder(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction ``(batch, inputs)``."""
        return self.decoder(self.encode(x))


def _blocks(sizes: Sequence[int], dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.LayerNorm(after, eps=_EPS), nn.ReLU(), nn.Dropout(dropout)]
    return layers


def sparse_loss(found: Tensor, x: Tensor, there: Tensor) -> Tensor:
    """Return 0.7 of the squared error over non-zero cells and 0.3 over all; missing cells count as zeros."""
    del there
    square = (found - x).square()
    nonzero = (x != 0).to(square)
    if not bool(nonzero.any()):
        return square.mean()
    return _SPARSE * (nonzero * square).sum() / nonzero.sum() + _ALL * square.mean()


def masked_loss(found: Tensor, x: Tensor, there: Tensor) -> Tensor:
    """Return the mean squared error over the cells that are there."""
    known = there.to(found)
    return (known * (found - x).square()).sum() / known.sum().clamp_min(1.0)


LOSSES = {"sparse": sparse_loss, "masked": masked_loss}


@torch.no_grad()
def take_over(model: Autoencoder, weights: Mapping[str, Tensor]) -> int:
    """Copy the weights of a smaller model into the corners of this one's; return how many tensors fitted.

    Layers are matched by their place in encoder and decoder; what is larger keeps its own initial values
    in the rest, linear rows scaled to a tenth, so that the smaller model's function is nearly kept.
    """
    mine, count = model.state_dict(), 0
    for name, value in weights.items():
        own = mine.get(name)
        if (
            own is None
            or own.dim() != value.dim()
            or any(a < b for a, b in zip(own.shape, value.shape, strict=True))
        ):
            continue
        corner = tuple(slice(0, size) for size in value.shape)
        if own.dim() == 2:
            own.mul_(0.1)
        own[corner] = value
        count += 1
    return count
