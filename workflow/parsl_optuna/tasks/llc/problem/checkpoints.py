"""Weights of one model at several times: a folder of files, state dicts, or what a training loop yields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    taken: set[int] = set()
    count = 0
    for label, checkpoint in _labelled(checkpoints):
        state = _state(checkpoint, label)
        if not isinstance(checkpoints, Iterator):
            _check_different(state, label, taken)
        loaded = private_copy(model)
        for parameter, original in zip(loaded.parameters(), model.parameters(), strict=True):
            parameter.requires_grad_(original.requires_grad)
        try:
            loaded.load_state_dict(state)
        except (RuntimeError, TypeError) as error:
            detail = " ".join(str(error).split())[:160]
            raise SpecError(f"checkpoints: {label}: does not fit the model: {detail}") from error
        count += 1
        yield label, loaded
    if not count:
        raise SpecError("checkpoints: there are none")


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
