"""From a user's model, loss and data to the fastest loss there is for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.checks import check
from parsl_optuna.tasks.llc.problem.examples import Examples, mapped, tensors
from parsl_optuna.tasks.llc.problem.losses import Loss, MlpLoss
from parsl_optuna.tasks.llc.problem.module import ModuleLoss
from parsl_optuna.tasks.llc.problem.posed import (
    Calling,
    LossFunction,
    Posed,
    as_called,
    in_precision,
    pose_loss,
    private_copy,
    quiet,
    unaccelerated_attention,
    uncompiled,
)
from parsl_optuna.tasks.llc.problem.recorded import Recorder, Recording, Source
from parsl_optuna.tasks.llc.problem.selection import Selection
from parsl_optuna.tasks.llc.problem.slopes import value_of
from parsl_optuna.tasks.llc.problem.spec import Activation
from parsl_optuna.tasks.llc.problem.spread import spread

_ACTIVATIONS: dict[type[nn.Module], Activation] = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.GELU: "gelu"}


_FEW = 4
"""Examples by which it is seen whether a pass writes into them."""


class PosedLoss(NamedTuple):
    """A loss, the weights that the user's model has, and how it came about.

    Attributes:
        loss: Of the sampled parameters.
        weights: Of the user's model, ``(dim,)``.
        chains: How chains are run.
        notes: What a reader of the result should know.
        recording: The observables.
    """

    loss: Loss
    weights: Tensor
    chains: str
    notes: tuple[str, ...] = ()
    recording: Recording = Recording()


class RestrictedLoss:
    """A loss of some of its parameters, with the others held.

    Args:
        loss: Of all.
        held: Where the others are held, ``(loss.dim,)``.
        indices: Of the parameters that vary, ``(dim,)``.
    """

    has_data = True

    def __init__(self, loss: Loss, held: Tensor, indices: Tensor) -> None:
        self._loss, self._held, self._indices = loss, held, indices.to(held.device)
        self.dim, self.n_examples, self.together = len(indices), loss.n_examples, loss.together
        self.pass_bytes = loss.pass_bytes

    def value(self, w: Tensor) -> Tensor:
        """Return losses ``(chains,)`` on all examples."""
        return self._loss.value(self.whole(w))

    def value_and_grad(self, w: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return losses ``(chains,)`` and gradients ``(chains, dim)``."""
        value, gradient = self._loss.value_and_grad(self.whole(w), rows)
        return value, gradient[:, self._indices]

    def whole(self, w: Tensor) -> Tensor:
        """Return all parameters of some of them, ``(chains, loss.dim)``."""
        whole = self._held.expand(len(w), -1).clone()
        whole[:, self._indices] = w
        return whole


def pose(
    model: nn.Module,
    loss: LossFunction,
    examples: Examples,
    selection: Selection,
    dtype: torch.dtype,
    *,
    device: torch.device | None = None,
    others: Sequence[torch.device] = (),
    most_bytes: float = math.inf,
    together: bool | None = None,
    deadline: Deadline | None = None,
    observables: Mapping[str, Source] | None = None,
    is_verified: bool = False,
) -> PosedLoss:
    """Return the fastest loss there is: hand-written for plain MLPs with `nn.MSELoss`, general for all else.

    Args:
        model: The user's; left alone.
        loss: ``(outputs, y)`` or ``(model, batch)``, to a mean over examples.
        examples: The data.
        selection: What is sampled.
        dtype: Arithmetic.
        device: Where; by default the CPU.
        others: Further devices, which compute some of the chains.
        most_bytes: Memory that activations may take.
        together: Whether chains go together; None for what is faster.
        deadline: When it has passed, the loss raises `Expired`.
        observables: What else to evaluate.
        is_verified: Whether it has passed all checks in another precision.

    Raises:
        SpecError: The loss cannot be called, or is not a mean over examples.
    """
    device, loss = device or torch.device("cpu"), uncompiled(loss)
    with quiet():  # of scripted modules torch looks at gradients that there are not
        copied = private_copy(model).to(device, dtype)
    data = examples.to(device, dtype)
    devices = [device, *others]
    plain = _as_mlp(copied, loss, data, selection)
    if plain is not None and not observables:
        return _spread(plain, devices, _moving(plain.loss))
    every = dict(copied.named_parameters())
    for name, value in every.items():
        value.requires_grad_(name in selection.names)
    _check_embeddings(copied)
    posed = pose_loss(copied, in_precision(loss, device, dtype), data, dtype)
    posed.deadline = deadline
    data = _private(posed, as_called(posed.calling, data, dtype))
    notes = check(posed, [every[name] for name in selection.names], data, model, is_verified=is_verified)
    notes += _of_casts(posed.calling)
    general = ModuleLoss(posed, selection.names, data, most_bytes, together=together, deadline=deadline)
    weights, recorder = general.flat(), Recorder(general, observables or {})
    recording = Recording(recorder, recorder.size)
    if plain is not None:
        back = _order(every.values()).argsort().to(weights.device)
        recording, told = _of(recording, lambda w: w[:, back]), tuple(recorder.notes)
        return _spread(plain._replace(recording=recording, notes=told), devices, _moving(plain.loss))
    found = PosedLoss(general, weights, str(general.way), (*notes, *recorder.notes), recording)
    return _restricted(_spread(found, devices, partial(general.on, model, loss)), selection)


def _private(posed: Posed, data: Examples) -> Examples:
    """Copy the data where a pass writes into them: they are the user's."""
    few = mapped(data.rows(torch.arange(min(_FEW, data.n), device="cpu")), torch.clone)
    before = [tensor._version for tensor in tensors(few)]
    with suppress(Exception), quiet(), unaccelerated_attention():  # the checks tell of what it raises
        value_of(posed, few)
    if [tensor._version for tensor in tensors(few)] == before:
        return data
    return Examples(mapped(data.batch, torch.clone), data.n, data.notes)


def _of_casts(calling: Calling) -> list[str]:
    """Say which integers became floating-point numbers."""
    if not calling.floating:
        return []
    columns = " and ".join("xy"[index] for index in calling.floating)
    return [f"integers of {columns} were converted to floating-point numbers"]


def _moving(loss: Loss) -> Callable[[torch.device], Loss]:
    """Return what gives the loss of a plain MLP on a device."""
    assert isinstance(loss, MlpLoss)
    return loss.on


def _spread(
    posed: PosedLoss, devices: Sequence[torch.device], on: Callable[[torch.device], Loss]
) -> PosedLoss:
    """Return the loss with its chains spread over *devices*, where there are several; *on* gives copies."""
    if len(devices) == 1:
        return posed
    chains = f"{posed.chains}, spread over {', '.join(map(str, devices))}"
    return posed._replace(loss=spread(posed.loss, devices, on), chains=chains)


def _check_embeddings(model: nn.Module) -> None:
    """Refuse layers whose forward pass writes to what is sampled."""
    for name, part in model.named_modules():
        if not isinstance(part, (nn.Embedding, nn.EmbeddingBag)) or part.max_norm is None:
            continue
        if part.weight.requires_grad:
            raise SpecError(
                f"model: {name or 'it'} has max_norm, so that a forward pass rewrites its weights; set it to "
                "None, or hold that layer (parameters=)"
            )


def _of(recording: Recording, whole: Callable[[Tensor], Tensor]) -> Recording:
    """Return the recording of weights that have to be made the module's first."""
    return recording._replace(at=lambda w: recording.at(whole(w)))


def _restricted(posed: PosedLoss, selection: Selection) -> PosedLoss:
    if selection.indices is None:
        return posed
    indices = selection.indices.to(posed.weights.device)
    restricted = RestrictedLoss(posed.loss, posed.weights, indices)
    recording = _of(posed.recording, restricted.whole)
    return posed._replace(loss=restricted, weights=posed.weights[indices], recording=recording)


def _as_mlp(model: nn.Module, loss: Any, examples: Examples, selection: Selection) -> PosedLoss | None:
    """Return the hand-written loss if *model* is Linear, activation, ..., Linear and *loss* the MSE."""
    is_mse = type(loss) is nn.MSELoss and loss.reduction == "mean"
    is_mse = is_mse or loss is nn.functional.mse_loss
    every = list(model.named_parameters())
    whole = selection.indices is None and selection.dim == selection.total
    if not (is_mse and whole and type(model) is nn.Sequential and examples.is_pair and every):
        return None
    x, y = examples.batch
    if not all(isinstance(part, Tensor) and part.ndim == 2 and part.is_floating_point() for part in (x, y)):
        return None
    layers, between = list(model)[::2], list(model)[1::2]
    linear = [layer for layer in layers if type(layer) is nn.Linear]
    if len(linear) != len(layers) or len(between) != len(layers) - 1:
        return None
    names: set[Activation | None] = {_activation_of(module) for module in between}
    biased = {layer.bias is not None for layer in linear}
    sizes = (linear[0].in_features, *(layer.out_features for layer in linear))
    is_plain = None not in names and len(names) <= 1 and len(biased) == 1 and not _is_special(model, linear)
    if not is_plain or x.shape[1] != sizes[0] or y.shape[1] != sizes[-1]:
        return None
    if any(a.out_features != b.in_features for a, b in pairwise(linear)):
        return None
    values = [value.detach() for _, value in every]
    weights = torch.cat([value.reshape(-1) for value in values])[_order(values).to(values[0].device)]
    activation = next(iter(names), None) or "identity"
    return PosedLoss(MlpLoss(x, y, sizes, activation, biased == {True}), weights, "together")


def _order(values: Iterable[Tensor]) -> Tensor:
    """Return where the weights of `MlpLoss`, its matrices transposed, stand among those of the module."""
    parts, at = [], 0
    for value in values:
        places = torch.arange(at, at + value.numel(), device="cpu").reshape(value.shape)
        parts.append(places.T.flatten() if value.ndim == 2 else places)
        at += value.numel()
    return torch.cat(parts)


def _is_special(model: nn.Module, linear: list[nn.Linear]) -> bool:
    """Whether layers share weights, or hooks or a forward of an instance change what they do."""
    named = [layer.weight for layer in linear] + [layer.bias for layer in linear if layer.bias is not None]
    shared = len({id(value) for value in named}) < len(named)
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    return shared or hooked or any("forward" in vars(part) for part in model.modules())


def _activation_of(module: nn.Module) -> Activation | None:
    if isinstance(module, nn.GELU) and module.approximate != "none":
        return None
    return _ACTIVATIONS.get(type(module))
