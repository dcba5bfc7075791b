"""Layers whose spectral norm, as linear maps at their real input size, is one.

A convolution's kernel reshaped to a matrix has another norm than the map it stands for, by up to the square
root of its overlaps. Here the norm is that of the map: power iteration with the layer and its adjoint.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

_EPS = 1e-12
"""Smallest norm that a vector is divided by, as in `torch.nn.utils.parametrizations.spectral_norm`."""

_FIRST_ROUNDS = 100
"""Of power iteration for a new layer: within 1 % of the norm (a test); training adds one per step."""

_KERNEL, _STRIDE, _PADDING = 4, 2, 1
"""Of a transposed convolution that doubles each side exactly."""


class Spectral(nn.Module):
    """A linear layer divided by its largest singular value sigma, and a bias.

    While training, each forward pass makes one round of power iteration; sigma = <u, A v> carries the
    gradient, u and v are constants. Subclasses say what A and its adjoint are.

    Args:
        weight: Of the layer.
        bias: Added after; not part of the norm.
        example: One input, for its shape, batch dimension included.
        stream: Of the first vector.
        normalise: Whether to divide at all.
    """

    u: Tensor
    v: Tensor

    def __init__(
        self, weight: Tensor, bias: Tensor, example: Tensor, stream: Generator, *, normalise: bool
    ) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self._normalise = normalise
        v = torch.randn(example.shape, generator=stream)
        self.register_buffer("v", v / v.norm())
        self.register_buffer("u", torch.zeros_like(self.apply_map(v, weight)))
        self.refine(_FIRST_ROUNDS)

    def apply_map(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return A x for the given *weight*."""
        raise NotImplementedError

    def adjoint(self, y: Tensor, weight: Tensor) -> Tensor:
        """Return the transpose of A applied to *y*."""
        raise NotImplementedError

    def add_bias(self, y: Tensor) -> Tensor:
        """Return *y* with the bias added."""
        raise NotImplementedError

    @torch.no_grad()
    def refine(self, rounds: int) -> None:
        """Make *rounds* of power iteration."""
        for _ in range(rounds):
            self.u = functional.normalize(
                self.apply_map(self.v, self.weight).flatten(), dim=0, eps=_EPS
            ).view_as(self.u)
            self.v = functional.normalize(
                self.adjoint(self.u, self.weight).flatten(), dim=0, eps=_EPS
            ).view_as(self.v)

    @property
    def sigma(self) -> Tensor:
        """The estimate of the largest singular value; from below, and exact once converged."""
        return (self.u * self.apply_map(self.v, self.weight)).sum()

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised layer's output."""
        if not self._normalise:
            return self.add_bias(self.apply_map(x, self.weight))
        if self.training:
            self.refine(1)
        return self.add_bias(self.apply_map(x, self.weight / self.sigma))


class SpectralLinear(Spectral):
    """``(batch, inputs) -> (batch, outputs)``."""

    def __init__(self, inputs: int, outputs: int, stream: Generator, *, normalise: bool) -> None:
        weight = _orthogonal(outputs, inputs, stream)
        super().__init__(weight, torch.zeros(outputs), torch.zeros(1, inputs), stream, normalise=normalise)

    def apply_map(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return x W^T."""
        return x @ weight.T

    def adjoint(self, y: Tensor, weight: Tensor) -> Tensor:
        """Return y W."""
        return y @ weight

    def add_bias(self, y: Tensor) -> Tensor:
        """Return *y* with the bias added."""
        return y + self.bias


class SpectralUpsampling(Spectral):
    """A transposed convolution, ``(batch, inputs, s, s) -> (batch, outputs, 2 s, 2 s)``."""

    def __init__(self, inputs: int, outputs: int, side: int, stream: Generator, *, normalise: bool) -> None:
        weight = _orthogonal(inputs, outputs * _KERNEL**2, stream).view(inputs, outputs, _KERNEL, _KERNEL)
        example = torch.zeros(1, inputs, side, side)
        super().__init__(weight, torch.zeros(outputs), example, stream, normalise=normalise)

    def apply_map(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the transposed convolution of *x*."""
        return functional.conv_transpose2d(x, weight, stride=_STRIDE, padding=_PADDING)

    def adjoint(self, y: Tensor, weight: Tensor) -> Tensor:
        """Return the convolution of *y*."""
        return functional.conv2d(y, weight, stride=_STRIDE, padding=_PADDING)

    def add_bias(self, y: Tensor) -> Tensor:
        """Return *y* with the bias added."""
        return y + self.bias[:, None, None]


def _orthogonal(rows: int, columns: int, stream: Generator) -> Tensor:
    """Return a matrix with orthonormal rows or columns, whichever are fewer."""
    tall = torch.randn(max(rows, columns), min(rows, columns), generator=stream)
    q = torch.linalg.qr(tall)[0]
    return (q if rows >= columns else q.T).contiguous()
