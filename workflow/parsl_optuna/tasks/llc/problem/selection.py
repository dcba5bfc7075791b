"""Which parameters of a module are sampled: those that require a gradient, or a part of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, cast

import torch
from torch import Tensor, nn

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.tasks.llc.problem.heads import head_masks

Parameters = Any
"""A name, a pattern, a module, a parameter, several of these, or a mapping of names to masks."""


@dataclass(frozen=True)
class Selection:
    """The sampled parameters.

    Attributes:
        names: Of the parameters some element of which is sampled, as `nn.Module.named_parameters` has them:
            tied weights count once, by their first name.
        indices: Sampled elements ``(dim,)`` of these parameters, flattened one after the other; None for all.
        dim: Number of sampled elements.
        total: Number of elements of all parameters of the module.
        notes: What is held that a reader may take for sampled.
    """

    names: tuple[str, ...]
    indices: Tensor | None
    dim: int
    total: int
    notes: tuple[str, ...] = ()


def sizes(model: nn.Module, selection: Selection) -> list[int]:
    """Return how many elements of each selected parameter are sampled, in their order."""
    every = dict(model.named_parameters())
    whole = [every[name].numel() for name in selection.names]
    if selection.indices is None:
        return whole
    ends = torch.tensor(whole, device="cpu").cumsum(0)
    places = torch.bucketize(selection.indices.cpu(), ends, right=True)
    return torch.bincount(places, minlength=len(whole)).tolist()


def select(model: nn.Module, parameters: Parameters = None) -> Selection:
    """Return the parameters of *model* that *parameters* selects among those that require a gradient.

    Args:
        model: Any module.
        parameters: None for all; a name or pattern such as ``layers.0.*`` (the name of a module means what is
            below it); ``NAME.heads[0]``, a head of an attention layer; a module of *model*, or a parameter;
            several of these in a list; or a mapping from names or patterns to boolean masks of the
            parameters' shape (True: sampled), or to True.

    Raises:
        SpecError: Nothing to sample, a pattern that matches nothing, a mask of another shape.
    """
    every = dict(model.named_parameters())
    if not every:
        raise SpecError("model: it has no parameters")
    lazy = [name for name, value in every.items() if isinstance(value, nn.parameter.UninitializedParameter)]
    if lazy:
        raise SpecError(f"model: parameter {lazy[0]} has no shape yet; run the model once first")
    _check_memory(every, dict(model.named_buffers()))
    trainable = {name for name, value in every.items() if value.requires_grad}
    if not trainable:
        raise SpecError("model: no parameter requires a gradient; call requires_grad_() on those to sample")
    total = sum(value.numel() for value in every.values())
    if parameters is None:
        chosen: dict[str, Tensor | None] = dict.fromkeys(name for name in every if name in trainable)
    else:
        chosen = _chosen(model, parameters, every, trainable)
    held = {}
    for name, mask in _without_padding(model, every):
        if name in chosen and chosen[name] is None:
            chosen[name] = held[name] = mask
    notes = tuple(f"the padding row of {name} is held, as in training" for name in held)
    return replace(_selection(chosen, every, total), notes=notes)


def scale(model: nn.Module, parameters: Parameters = None) -> float:
    """Return the root mean square of the sampled weights; 1 where all are 0."""
    chosen, every = select(model, parameters), dict(model.named_parameters())
    values = torch.cat([every[name].detach().double().reshape(-1).cpu() for name in chosen.names])
    size = float((values if chosen.indices is None else values[chosen.indices]).square().mean().sqrt())
    return size if size > 0 else 1.0


def _without_padding(model: nn.Module, every: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield embeddings with a padding row, which training never moves, and the mask of all other rows."""
    names = {id(value): name for name, value in every.items()}
    for part in model.modules():
        if isinstance(part, (nn.Embedding, nn.EmbeddingBag)) and part.padding_idx is not None:
            name = names.get(id(part.weight))
            if name is not None:  # not so where the weight is computed from others
                mask = torch.ones(part.weight.shape, dtype=torch.bool, device="cpu")
                mask[part.padding_idx] = False
                yield name, mask


def _check_memory(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> None:
    """Refuse parameters that are views of the same memory: a copy of the model would tear them apart."""
    places: dict[int, list[str]] = {}
    every = {**parameters, **buffers}
    for name, value in every.items():
        if value.layout == torch.strided and value.numel() and not value.is_meta:
            places.setdefault(value.untyped_storage().data_ptr(), []).append(name)
    for names in places.values():
        concerned = [name for name in names if name in parameters]
        if not concerned or (len(names) == 1 and every[names[0]].is_contiguous()):
            continue
        taken: Tensor = torch.cat([_elements(every[name]) for name in names])
        if len(taken.unique()) < len(taken):
            said = " and ".join(names[:2]) if len(names) > 1 else f"elements of {names[0]}"
            raise SpecError(
                f"model: {said} share memory as views, and would be sampled apart; use one parameter in "
                "both places"
            )


def _elements(value: Tensor) -> Tensor:
    """Return the addresses of the elements of a tensor, ``(numel,)``."""
    at = torch.tensor(value.data_ptr(), device="cpu")
    for size, stride in zip(value.shape, value.stride(), strict=True):
        at = at.unsqueeze(-1) + torch.arange(size, device="cpu") * stride * value.element_size()
    return at.reshape(-1)


def _selection(chosen: Mapping[str, Tensor | None], every: Mapping[str, Tensor], total: int) -> Selection:
    names = tuple(name for name in every if name in chosen)
    for name in names:
        if not every[name].is_floating_point():
            raise SpecError(
                f"model: parameter {name} is of {every[name].dtype}; only real numbers can be sampled"
            )
    if all(chosen[name] is None for name in names):
        return Selection(names, None, sum(every[name].numel() for name in names), total)
    masks = []
    for name in names:
        mask = chosen[name]
        masks.append(
            torch.ones(every[name].numel(), dtype=torch.bool, device="cpu")
            if mask is None
            else mask.reshape(-1)
        )
    indices = torch.cat(masks).nonzero()[:, 0]
    if not len(indices):
        raise SpecError("parameters: the masks select no element; True marks what is sampled")
    return Selection(names, indices, len(indices), total)


def _chosen(
    model: nn.Module, parameters: Parameters, every: Mapping[str, Tensor], trainable: set[str]
) -> dict[str, Tensor | None]:
    """Return the selected names with their masks; None for all elements."""
    chosen: dict[str, Tensor | None] = {}
    if isinstance(parameters, Mapping):
        for pattern, mask in parameters.items():
            for name in _matching(model, pattern, every, trainable):
                found = _mask(name, mask, every[name])
                if found is not None and chosen.get(name) is not None:
                    found = found | torch.as_tensor(chosen[name], device="cpu")
                chosen[name] = None if name in chosen and chosen[name] is None else found
        return chosen
    single = isinstance(parameters, (str, nn.Module, Tensor)) or not isinstance(parameters, Iterable)
    parts: list[Any] = [parameters] if single else list(cast("Iterable[Any]", parameters))
    for part in parts:
        masks = head_masks(model, part) if isinstance(part, str) else None
        if masks is None:
            chosen |= dict.fromkeys(_matching(model, part, every, trainable))
            continue
        for name, mask in masks.items():
            if name in trainable:
                earlier = chosen.get(name, mask)
                chosen[name] = None if earlier is None else mask | earlier
    if not chosen:
        raise SpecError("parameters: an empty list selects nothing; leave it out to sample all")
    return chosen


def _matching(model: nn.Module, part: Any, every: Mapping[str, Tensor], trainable: set[str]) -> list[str]:
    """Return the trainable names that one pattern, module or parameter selects."""
    aliases = _aliases(model, every)
    if isinstance(part, nn.Module):
        ids = {id(value) for value in part.parameters()}
        found = {name for name, value in every.items() if id(value) in ids}
        said = f"the {type(part).__name__}"
        if len(found) < len(ids):
            raise SpecError(
                f"parameters: {said} is not a part of the model; take a submodule of the model itself"
            )
    elif isinstance(part, Tensor):
        found, said = {name for name, value in every.items() if value is part}, "the tensor"
        if not found:
            raise SpecError(
                "parameters: the tensor is not a parameter of the model; take one of model.parameters()"
            )
    elif isinstance(part, str):
        said = f"'{part}'"
        found = {
            first for name, first in aliases.items() if fnmatchcase(name, part) or name.startswith(f"{part}.")
        }
        if not found:
            raise SpecError(f"parameters: {said} matches no parameter; {nearest(part, every)}")
    else:
        raise SpecError(
            f"parameters: {part!r} is no name, pattern, module, parameter or mapping of names to masks"
        )
    if not found:
        raise SpecError(f"parameters: {said} has no parameters")
    if not found & trainable:
        raise SpecError(
            f"parameters: {said} selects only what requires no gradient; call requires_grad_() on it"
        )
    return [name for name in every if name in found & trainable]


def _aliases(model: nn.Module, every: Mapping[str, Tensor]) -> dict[str, str]:
    """Return every name of a parameter, and the first one of the same parameter."""
    first = {id(value): name for name, value in every.items()}
    return {name: first[id(value)] for name, value in model.named_parameters(remove_duplicate=False)}


def _mask(name: str, mask: Any, value: Tensor) -> Tensor | None:
    """Return a mask as a tensor of the parameter's shape; None for all."""
    if mask is True:
        return None
    found = torch.as_tensor(mask, device="cpu")
    if found.dtype != torch.bool or found.shape != value.shape:
        shape = tuple(value.shape)
        raise SpecError(
            f"parameters: the mask of {name} is {found.dtype} of shape {tuple(found.shape)}; it must be "
            f"bool of {shape}"
        )
    return found
