"""Any `torch.nn.Module` with a plain (x, y) data set as a loss of many weight vectors at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.losses import Loss, MlpLoss
from parsl_optuna.tasks.llc.problem.spec import Activation

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""``(outputs, y) -> ()``, a mean over examples."""

_CHUNK = 512
_TOLERANCE = 1e-4
_ACTIVATIONS: dict[type[nn.Module], Activation] = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.GELU: "gelu"}


class ModuleLoss:
    """The loss of a module, by `torch.func`.

    Args:
        model: Put in evaluation mode, on a copy; its buffers are held fixed.
        loss: A mean over examples.
        x: Inputs ``(n, ...)``.
        y: Targets ``(n, ...)``.

    Raises:
        SpecError: *loss* is not a mean over examples.
    """

    has_data = True

    def __init__(self, model: nn.Module, loss: LossFunction, x: Tensor, y: Tensor) -> None:
        self._model = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        self._loss, self._x, self._y = loss, x, y
        self._shapes = {name: value.shape for name, value in self._model.named_parameters()}
        self._buffers = dict(self._model.named_buffers())
        self.n_examples = len(x)
        self.dim = sum(shape.numel() for shape in self._shapes.values())
        self._values = vmap(self._of_one, in_dims=(0, None, None))
        self._gradients = vmap(grad_and_value(self._of_one), in_dims=(0, None, None))
        self._batch_gradients = vmap(grad_and_value(self._of_one))
        self._check()

    def flat(self) -> Tensor:
        """Return the weights that the module came with, ``(dim,)``."""
        return torch.cat([value.flatten() for _, value in self._model.named_parameters()])

    def value(self, w: Tensor) -> Tensor:
        """Return losses ``(chains,)`` on all examples."""
        total = w.new_zeros(len(w))
        for x, y in zip(self._x.split(_CHUNK), self._y.split(_CHUNK), strict=True):
            total += self._values(w, x, y) * (len(x) / self.n_examples)
        return total

    def value_and_grad(self, w: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return losses ``(chains,)`` and gradients ``(chains, dim)``."""
        if rows is not None and rows.ndim == 2:
            gradient, value = self._batch_gradients(w, self._x[rows], self._y[rows])
            return value, gradient
        chosen_x, chosen_y = (self._x, self._y) if rows is None else (self._x[rows], self._y[rows])
        total, gradient = w.new_zeros(len(w)), torch.zeros_like(w)
        for x, y in zip(chosen_x.split(_CHUNK), chosen_y.split(_CHUNK), strict=True):
            part_gradient, part = self._gradients(w, x, y)
            share = len(x) / len(chosen_x)
            total, gradient = total + share * part, gradient + share * part_gradient
        return total, gradient

    def _of_one(self, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
        parts = w.split([shape.numel() for shape in self._shapes.values()])
        named = zip(self._shapes.items(), parts, strict=True)
        weights = {name: part.reshape(shape) for (name, shape), part in named}
        return self._loss(functional_call(self._model, (weights, self._buffers), (x,)), y)

    def _check(self) -> None:
        """Compare the loss of a few examples with the mean of their losses."""
        w, n = self.flat(), min(4, self.n_examples)
        x, y = self._x[:n], self._y[:n]
        together = self._of_one(w, x, y)
        if together.ndim:
            shape = tuple(together.shape)
            raise SpecError(f"loss: returns a tensor of shape {shape}; it must be one number, the mean")
        alone = sum(float(self._of_one(w, x[i : i + 1], y[i : i + 1])) for i in range(n)) / n
        if not math.isclose(float(together), alone, rel_tol=_TOLERANCE, abs_tol=1e-12):
            raise SpecError(
                f"loss: {float(together):.6g} on {n} examples together but {alone:.6g} on average; "
                "it must be a mean over examples (reduction='mean')"
            )


class Posed(NamedTuple):
    """A loss and the weights ``(dim,)`` that the user's model has."""

    loss: Loss
    weights: Tensor


def pose(model: nn.Module, loss: LossFunction, x: Tensor, y: Tensor, dtype: torch.dtype) -> Posed:
    """Return the fastest loss there is for a model: hand-written for plain MLPs with `nn.MSELoss`.

    Raises:
        SpecError: Data of unequal length, no trainable weights, or a loss that is not a mean.
    """
    if len(x) != len(y):
        raise SpecError(f"data: {len(x)} inputs but {len(y)} targets")
    if not any(True for _ in model.parameters()):
        raise SpecError("model: it has no parameters")
    model = copy.deepcopy(model).to(dtype)
    x = x.to(dtype) if x.is_floating_point() else x
    y = y.to(dtype) if y.is_floating_point() else y
    plain = _as_mlp(model, loss, x, y)
    if plain is not None:
        return plain
    general = ModuleLoss(model, loss, x, y)
    return Posed(general, general.flat())


def _as_mlp(model: nn.Module, loss: Any, x: Tensor, y: Tensor) -> Posed | None:
    """Return the hand-written loss if *model* is Linear, activation, ..., Linear and *loss* the MSE."""
    is_mse = isinstance(loss, nn.MSELoss) and loss.reduction == "mean"
    is_mse = is_mse or loss is nn.functional.mse_loss
    if not (is_mse and isinstance(model, nn.Sequential) and x.ndim == 2 and y.ndim == 2):
        return None
    layers, between = list(model)[::2], list(model)[1::2]
    linear = [layer for layer in layers if type(layer) is nn.Linear]
    if len(linear) != len(layers) or len(between) != len(layers) - 1:
        return None
    names: set[Activation | None] = {_activation_of(module) for module in between}
    biased = {layer.bias is not None for layer in linear}
    if None in names or len(names) > 1 or len(biased) > 1:
        return None
    sizes = (linear[0].in_features, *(layer.out_features for layer in linear))
    if x.shape[1] != sizes[0] or y.shape[1] != sizes[-1]:
        return None
    parts = []
    for layer in linear:
        parts.append(layer.weight.detach().T.flatten())
        if layer.bias is not None:
            parts.append(layer.bias.detach())
    activation = next(iter(names), None) or "identity"
    return Posed(MlpLoss(x, y, sizes, activation, biased == {True}), torch.cat(parts))


def _activation_of(module: nn.Module) -> Activation | None:
    if isinstance(module, nn.GELU) and module.approximate != "none":
        return None
    return _ACTIVATIONS.get(type(module))
