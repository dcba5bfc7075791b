"""Losses of many parameter vectors at once, with hand-written gradients.

Every loss maps ``(chains, dim)`` to ``(chains,)``. Gradients are written out because at these sizes
autograd costs more than the arithmetic; tests hold them against autograd.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from parsl_optuna.tasks.llc.problem.spec import Activation

_CHUNK_BYTES, _CHUNK_BYTES_ELSEWHERE = 2**19, 2**28
"""Activations of one layer and chunk, about, so that all that a pass touches stays near a core. A GPU takes a
few microseconds to begin with each.
"""

_FEWEST_ROWS = 64

_READ: dict[Activation, tuple[float, float, float]] = {"tanh": (2.0, 2.0, -1.0)}
"""Argument, slope and shift: tanh(z) = 2 sigmoid(2 z) - 1, to within an ulp of 1, in a third to a ninth of
the time of torch.tanh. Products before and after the sigmoid take care of all three.
"""

_Layer = tuple[Tensor, Tensor | None, Tensor | None]
"""Weights ``(chains, in, out)``, biases ``(chains, 1, out)``, and biases for inputs not yet read."""


class Loss(Protocol):
    """A mean loss over ``n_examples``.

    *rows* picks a minibatch: ``(chains, batch)`` one per chain, ``(batch,)`` the same for all.

    Attributes:
        dim: Number of parameters.
        n_examples: Size of the data set.
        has_data: Whether *rows* means anything; a closed form ignores it.
        together: Whether chains share the overhead of a call.
        pass_bytes: What a pass of one chain over all examples writes, about.
    """

    dim: int
    n_examples: int
    has_data: bool
    together: bool
    pass_bytes: float

    def value(self, w: Tensor) -> Tensor:
        """Return losses ``(chains,)`` on all examples."""
        ...

    def value_and_grad(self, w: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return losses ``(chains,)`` and gradients ``(chains, dim)``."""
        ...


class MlpLoss:
    """Mean squared error of an MLP over examples and outputs, times *scale*.

    Args:
        x: Inputs ``(n, in)``.
        y: Outputs ``(n, out)``.
        sizes: Layer sizes, input and output included.
        activation: Of the hidden layers.
        bias: Whether layers have one.
        scale: Factor on the loss.
    """

    has_data = True
    together = True

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        sizes: tuple[int, ...],
        activation: Activation,
        bias: bool,
        scale: float = 1.0,
    ) -> None:
        self._x, self._y = x, y
        self._sizes, self._bias, self._scale = sizes, bias, scale
        self._activation: Activation = activation
        self._argument, self._slope, self._shift = _READ.get(activation, (1.0, 1.0, 0.0))
        self.n_examples = len(x)
        pairs = pairwise(sizes)
        self.dim = sum(a * b + (b if bias else 0) for a, b in pairs)
        self.pass_bytes: float = x.element_size() * len(x) * sum(sizes[1:])

    def on(self, device: torch.device) -> MlpLoss:
        """Return a copy on a device."""
        other = copy.copy(self)
        other._x, other._y = self._x.to(device), self._y.to(device)
        return other

    def value(self, w: Tensor) -> Tensor:
        """Return losses ``(chains,)`` on all examples."""
        total, layers = w.new_zeros(len(w)), self._layers(w)
        for x, y in self._chunks(len(w)):
            total += (self._forward(layers, x)[0][-1] - y).square().sum((1, 2))
        return total * self._factor(self.n_examples)

    def value_and_grad(self, w: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return losses ``(chains,)`` and gradients ``(chains, dim)``."""
        layers = self._layers(w)
        if rows is not None and rows.ndim == 2:
            return self._part(layers, self._x[rows], self._y[rows], self._factor(rows.shape[1]))
        factor = self._factor(self.n_examples if rows is None else len(rows))
        (x, y), *others = self._chunks(len(w), rows)
        total, grad = self._part(layers, x, y, factor)
        for x, y in others:
            part, part_grad = self._part(layers, x, y, factor)
            total, grad = total.add_(part), grad.add_(part_grad)
        return total, grad

    def predict(self, w: Tensor) -> Tensor:
        """Return outputs ``(chains, n, out)``."""
        return self._forward(self._layers(w), self._x)[0][-1]

    def _factor(self, n: int) -> float:
        return self._scale / (n * self._sizes[-1])

    def _chunks(self, chains: int, rows: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """Return inputs and outputs of all examples or of *rows*, at least one piece."""
        x, y = (self._x, self._y) if rows is None else (self._x[rows], self._y[rows])
        layer = x.element_size() * chains * len(x) * max(self._sizes)
        size = _CHUNK_BYTES if x.device.type == "cpu" else _CHUNK_BYTES_ELSEWHERE
        count = max(1, min(round(layer / size), len(x) // _FEWEST_ROWS))
        return list(zip(x.tensor_split(count), y.tensor_split(count), strict=True))

    def _layers(self, w: Tensor) -> list[_Layer]:
        layers, at = [], 0
        for fan_in, fan_out in pairwise(self._sizes):
            weight = w[:, at : at + fan_in * fan_out].reshape(-1, fan_in, fan_out)
            at += fan_in * fan_out
            bias = None
            if self._bias:
                bias = w[:, at : at + fan_out].unsqueeze(1)
                at += fan_out
            read = bias
            if layers and self._shift:
                total = weight.sum(1, keepdim=True)
                read = self._shift * total if bias is None else torch.add(bias, total, alpha=self._shift)
            layers.append((weight, bias, read))
        return layers

    def _forward(self, layers: list[_Layer], x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the activations of every layer, input first, before they are read, and what they are of."""
        hidden, before = [x if x.ndim == 3 else x.expand(len(layers[0][0]), *x.shape)], []
        slope = 1.0
        for weight, _, bias in layers[:-1]:
            z = _product(hidden[-1], weight, bias, slope * self._argument, self._argument)
            before.append(z)
            hidden.append(_activate(z, self._activation))
            slope = self._slope
        weight, _, bias = layers[-1]
        hidden.append(_product(hidden[-1], weight, bias, slope))
        return hidden, before

    def _part(self, layers: list[_Layer], x: Tensor, y: Tensor, factor: float) -> tuple[Tensor, Tensor]:
        """Return *factor* times the squared errors and their gradient."""
        hidden, before = self._forward(layers, x)
        residual = hidden[-1] - y
        back, unit = residual, 2.0 * factor  # the product of both is the gradient before an activation
        parts: list[Tensor] = []
        for index in range(len(layers) - 1, -1, -1):
            weight, bias, _ = layers[index]
            total = back.sum(1)
            if bias is not None:
                parts.append(unit * total)
            gradient = _product(hidden[index].transpose(1, 2), back)
            if index and self._shift:
                gradient = gradient.mul_(self._slope).add_(total.unsqueeze(1), alpha=self._shift)
            parts.append(gradient.mul_(unit).flatten(1))
            if index:
                back = _product(back, weight.transpose(1, 2))
                back = _activate_backward(back, before[index - 1], hidden[index], self._activation)
                unit *= self._slope * self._argument
        return factor * residual.square().sum((1, 2)), torch.cat(parts[::-1], dim=1)


class DeepLinearLoss:
    """|W_L ... W_1 - diag(1_rank, 0)|_F^2 times *scale*; ``W_l`` is ``(widths[l], widths[l-1])``."""

    has_data = False
    together = True
    pass_bytes = 0.0

    def __init__(
        self, widths: tuple[int, ...], rank: int, n_examples: int, like: Tensor, scale: float
    ) -> None:
        self._shapes = list(zip(widths[1:], widths[:-1], strict=True))
        self._scale = scale
        self.n_examples = n_examples
        self.dim = sum(rows * columns for rows, columns in self._shapes)
        target = torch.zeros(widths[-1], widths[0], dtype=like.dtype, device=like.device)
        target.diagonal()[:rank] = 1.0
        self._target = target

    def value(self, w: Tensor) -> Tensor:
        """Return losses ``(chains,)``."""
        return self._scale * (self._products(w)[-1] - self._target).square().sum((1, 2))

    def value_and_grad(self, w: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return losses ``(chains,)`` and gradients ``(chains, dim)``; *rows* has no meaning here."""
        del rows
        factors, products = self._factors(w), self._products(w)
        residual = products[-1] - self._target
        back = 2.0 * self._scale * residual
        parts: list[Tensor] = []
        for index in range(len(factors) - 1, -1, -1):
            if index:
                parts.append(torch.bmm(back, products[index - 1].transpose(1, 2)).flatten(1))
                back = torch.bmm(factors[index].transpose(1, 2), back)
            else:
                parts.append(back.flatten(1))
        return self._scale * residual.square().sum((1, 2)), torch.cat(parts[::-1], dim=1)

    def _factors(self, w: Tensor) -> list[Tensor]:
        sizes = [rows * columns for rows, columns in self._shapes]
        flat = w.split(sizes, dim=1)
        return [part.reshape(-1, *shape) for part, shape in zip(flat, self._shapes, strict=True)]

    def _products(self, w: Tensor) -> list[Tensor]:
        """Return W_1, W_2 W_1, ..., the whole product."""
        factors = self._factors(w)
        products = [factors[0]]
        for factor in factors[1:]:
            products.append(torch.bmm(factor, products[-1]))
        return products


class QuadraticLoss:
    """1/2 sum_i h_i (w_i - offset)^2 times *scale*; ``curvature`` is ``(dim,)``."""

    has_data = False
    together = True
    pass_bytes = 0.0

    def __init__(self, curvature: Tensor, offset: float, n_examples: int, scale: float) -> None:
        self._curvature, self._offset = scale * curvature, offset
        self.dim, self.n_examples = len(curvature), n_examples

    def value(self, w: Tensor) -> Tensor:
        """Return losses ``(chains,)``."""
        return 0.5 * (self._curvature * (w - self._offset).square()).sum(1)

    def value_and_grad(self, w: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return losses ``(chains,)`` and gradients ``(chains, dim)``; *rows* has no meaning here."""
        del rows
        gradient = self._curvature * (w - self._offset)
        return 0.5 * (gradient * (w - self._offset)).sum(1), gradient


class MonomialLoss:
    """prod_i w_i^k_i times *scale*; ``exponents`` is ``(dim,)``."""

    has_data = False
    together = True
    pass_bytes = 0.0

    def __init__(self, exponents: Tensor, n_examples: int, scale: float) -> None:
        self._exponents, self._scale = exponents, scale
        self.dim, self.n_examples = len(exponents), n_examples

    def value(self, w: Tensor) -> Tensor:
        """Return losses ``(chains,)``."""
        return self._scale * (w**self._exponents).prod(1)

    def value_and_grad(self, w: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return losses ``(chains,)`` and gradients ``(chains, dim)``; *rows* has no meaning here."""
        del rows
        powers = w**self._exponents
        others = [powers[:, [j for j in range(self.dim) if j != i]].prod(1) for i in range(self.dim)]
        slope = self._exponents * w ** (self._exponents - 1)
        return self._scale * powers.prod(1), self._scale * slope * torch.stack(others, dim=1)


def _product(
    a: Tensor, b: Tensor, bias: Tensor | None = None, alpha: float = 1.0, beta: float = 1.0
) -> Tensor:
    """Return alpha a @ b + beta bias of batches of matrices; of columns and outer products, bmm is slow."""
    if a.shape[2] == 1:
        product = a * b
    elif b.shape[2] == 1:
        product = torch.bmm(b.transpose(1, 2), a.transpose(1, 2)).transpose(1, 2)
    elif bias is not None:
        return torch.baddbmm(bias, a, b, beta=beta, alpha=alpha)
    else:
        product = torch.bmm(a, b)
    product = product if alpha == 1.0 else product.mul_(alpha)
    return product if bias is None else product.add_(bias, alpha=beta)


def _activate(z: Tensor, activation: Activation) -> Tensor:
    """Return the activation before it is read; z is overwritten where the way back does not need it."""
    if activation == "relu":
        return torch.relu(z)
    if activation == "tanh":
        return z.sigmoid_()
    if activation == "gelu":
        return torch.nn.functional.gelu(z)
    return z


def _activate_backward(back: Tensor, z: Tensor, h: Tensor, activation: Activation) -> Tensor:
    """Return the gradient before an activation; each case is one pass over memory."""
    if activation == "relu":
        return torch.ops.aten.threshold_backward(back, z, 0)
    if activation == "tanh":
        return torch.ops.aten.sigmoid_backward(back, h)
    if activation == "gelu":
        return torch.ops.aten.gelu_backward(back, z)
    return back
