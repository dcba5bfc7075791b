"""Weights of one model at several times: a folder of files, state dicts, or what a training loop yields."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.folder import Label, files
from parsl_optuna.tasks.llc.problem.posed import first_line, private_copy

_INSIDE = ("state_dict", "model_state_dict", "model")
"""Keys under which training frameworks keep the weights beside an optimizer's state."""


def models(model: nn.Module, checkpoints: Any) -> Iterator[tuple[Label, nn.Module]]:
    """Yield label and model of every checkpoint, one at a time.

    Args:
        model: Of their architecture; what of it requires a gradient stays so.
        checkpoints: A folder of files of `torch.save`, in the order of the numbers in their names, which are
            the labels; a mapping of labels to checkpoints; or an iterable of checkpoints, or of pairs of a
            label and one. A checkpoint is a state dict, a module or a path.

    Raises:
        SpecError: No checkpoint, weights that do not fit the model, or one checkpoint several times.
    """
    for label, load in loaders(model, checkpoints):
        yield label, load()


def loaders(model: nn.Module, checkpoints: Any) -> Iterator[tuple[Label, Callable[[], nn.Module]]]:
    """Yield label and loader of every checkpoint; what is wrong with one is raised by its loader.

    Takes what `models` takes. A loader is to be called before the next one is asked for.

    Raises:
        SpecError: No checkpoint at all.
    """
    taken: set[int] | None = None if isinstance(checkpoints, Iterator) else set()
    count = 0
    for label, checkpoint in _labelled(checkpoints):
        count += 1
        yield label, partial(_loaded, model, label, checkpoint, taken)
    if not count:
        raise SpecError("checkpoints: there are none")


def _loaded(model: nn.Module, label: Label, checkpoint: Any, taken: set[int] | None) -> nn.Module:
    """Return a copy of the model with the weights of a checkpoint."""
    state = _state(checkpoint, label)
    if taken is not None and not isinstance(checkpoint, (str, Path)):  # memory of files is used again
        _check_different(state, label, taken)
    loaded = private_copy(model)
    for parameter, original in zip(loaded.parameters(), model.parameters(), strict=True):
        parameter.requires_grad_(original.requires_grad)
    try:
        loaded.load_state_dict(_unwrapped(state, loaded.state_dict()))
    except (RuntimeError, TypeError) as error:
        detail = " ".join(str(error).split())[:160]
        raise SpecError(f"checkpoints: {label}: does not fit the model: {detail}") from error
    if not all(bool(torch.isfinite(parameter).all()) for parameter in loaded.parameters()):
        raise SpecError(f"checkpoints: {label}: has weights that are NaN or infinite")
    return loaded


def _unwrapped(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return weights by the names *wanted*, where a wrapper has put a prefix before all of them.

    Data-parallel modules save ``module.``, compiled ones ``_orig_mod.``, Lightning the model's name there.
    """
    last = next(reversed(list(wanted)), "")
    prefix = next((name[: -len(last)] for name in state if name.endswith(f".{last}")), "")
    if prefix and set(state) == {prefix + name for name in wanted}:
        return {name: state[prefix + name] for name in wanted}
    return state


def _labelled(checkpoints: Any) -> Iterator[tuple[Label, Any]]:
    if isinstance(checkpoints, (str, Path)):
        yield from files(Path(checkpoints))
    elif isinstance(checkpoints, Mapping):
        yield from checkpoints.items()
    elif isinstance(checkpoints, Iterable) and not isinstance(checkpoints, (Tensor, nn.Module)):
        for index, entry in enumerate(checkpoints):
            yield entry if isinstance(entry, tuple) and len(entry) == 2 else (index, entry)
    else:
        kind = type(checkpoints).__name__
        raise SpecError(f"checkpoints: cannot read a {kind}; give a folder, a mapping of labels, or a list")


def _state(checkpoint: Any, label: Label) -> Mapping[str, Tensor]:
    """Return the weights of a checkpoint."""
    if isinstance(checkpoint, nn.Module):
        return checkpoint.state_dict()
    if isinstance(checkpoint, (str, Path)):
        try:
            checkpoint = torch.load(checkpoint, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # what is no weights may run any code when it is read
            raise SpecError(
                f"checkpoints: {checkpoint}: holds other objects than weights, or is damaged; save "
                "model.state_dict()"
            ) from error
        except Exception as error:
            raise SpecError(f"checkpoints: {checkpoint}: cannot be read: {first_line(error)}") from error
    if isinstance(checkpoint, Mapping):
        for key in _INSIDE:
            if isinstance(checkpoint.get(key), Mapping):
                checkpoint = checkpoint[key]
        if checkpoint and all(isinstance(value, Tensor) for value in checkpoint.values()):
            return checkpoint
    raise SpecError(f"checkpoints: {label}: is no state dict; save model.state_dict()")


def _check_different(state: Mapping[str, Tensor], label: Label, taken: set[int]) -> None:
    """Refuse state dicts that share their memory: they all hold the last weights."""
    first = next((value.data_ptr() for value in state.values() if value.numel()), 0)
    if first and first in taken:
        raise SpecError(
            f"checkpoints: {label}: shares its memory with an earlier one, so that both hold the same "
            "weights; keep "
            "copy.deepcopy(model.state_dict())"
        )
    taken.add(first)
