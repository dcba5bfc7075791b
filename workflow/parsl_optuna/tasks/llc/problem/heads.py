"""Attention heads by name, such as ``layers.0.self_attn.heads[2]``: which elements of weights are theirs."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from parsl_optuna.core.errors import SpecError

_HEAD = re.compile(r"(?:(?P<module>.+)\.)?heads\[(?P<head>\d+)\]")

_SIZES = ("num_heads", "n_heads", "n_head", "num_attention_heads")
"""Attributes that hold the number of heads, in the order in which they are looked for."""

_APART, _TOGETHER, _OUTPUTS = ("q_proj", "k_proj", "v_proj"), "c_attn", ("o_proj", "out_proj", "c_proj")
"""Projections as Llama and most of Hugging Face's models name them, as GPT-2 does, and outputs of both."""


def head_masks(model: nn.Module, text: str) -> dict[str, Tensor] | None:
    """Return the masks of the weights of one head, by the names of parameters; None if *text* names none.

    They are the rows of queries, keys and values with their biases, and the columns of the output projection.
    The bias of the output belongs to no head.

    Args:
        model: It has the attention layer: `nn.MultiheadAttention`, or one with layers ``q_proj``, ``k_proj``,
            ``v_proj`` or ``c_attn``, and ``o_proj``, ``out_proj`` or ``c_proj``.
        text: ``NAME.heads[INDEX]``.

    Raises:
        SpecError: No such layer, a layout that is not known, or no such head.
    """
    found = _HEAD.fullmatch(text)
    if found is None:
        return None
    name, head = found["module"] or "", int(found["head"])
    try:
        layer = model.get_submodule(name)
    except AttributeError as error:
        raise SpecError(f"parameters: '{text}': the model has no module '{name}'") from error
    count = next((size for key in _SIZES if isinstance(size := getattr(layer, key, None), int)), 0)
    parts = _parts(layer)
    sizes = {weight.shape[axis] / blocks for _, weight, axis, blocks in parts}
    # One size: where several heads of queries share keys and values, these belong to no single one.
    if not parts or len(sizes) > 1 or not count or sizes.pop() % count:
        raise SpecError(
            f"parameters: '{text}': the heads of a {type(layer).__name__} are not known; give masks, as "
            "{name of a weight: True where it is sampled}"
        )
    if head >= count:
        raise SpecError(f"parameters: '{text}': the layer has heads 0 to {count - 1}")
    return {
        f"{name}.{key}".lstrip("."): _mask(weight, axis, blocks * count, count, head)
        for key, weight, axis, blocks in parts
    }


def _parts(layer: nn.Module) -> list[tuple[str, Tensor, int, int]]:
    """Return weights of heads: name, value, the axis that heads lie along, and how often all of them do.

    Empty where queries, keys, values and output are not all known.
    """
    weights = dict(layer.named_parameters())
    out = next((key for key in _OUTPUTS if f"{key}.weight" in weights), None)
    if isinstance(layer, nn.MultiheadAttention):
        apart, together = [f"{key}_weight" for key in _APART], ["in_proj_weight", "in_proj_bias"]
        needed = [apart, together[:1]]
    else:
        apart = [f"{key}.{kind}" for kind in ("weight", "bias") for key in _APART]
        together = [f"{_TOGETHER}.weight", f"{_TOGETHER}.bias"]
        needed = [apart[:3], together[:1]]
    if out is None or not any(all(key in weights for key in keys) for keys in needed):
        return []
    # Conv1D, GPT-2's layer, has the weight of a linear one transposed, and its number of outputs as nf.
    turned = int(hasattr(layer.get_submodule(out), "nf"))
    found = [(key, 1) for key in apart if key in weights] + [(key, 3) for key in together if key in weights]
    inputs = [(key, weights[key], turned if weights[key].ndim == 2 else 0, blocks) for key, blocks in found]
    return [*inputs, (f"{out}.weight", weights[f"{out}.weight"], 1 - turned, 1)]


def _mask(weight: Tensor, axis: int, pieces: int, count: int, head: int) -> Tensor:
    """Mark every *count*-th of the *pieces* along an axis, from *head* on."""
    places = torch.arange(weight.shape[axis], device="cpu") // (weight.shape[axis] // pieces) % count == head
    shape = [1] * weight.ndim
    shape[axis] = -1
    return places.reshape(shape).expand(weight.shape).clone()
