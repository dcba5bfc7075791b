"""Trees of tensors and plain values as bytes, without pickle: JSON for the shape, NPZ for the numbers."""

from __future__ import annotations

import io
import json
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")

_TREE, _MOVES = "tree", "moves"
"""The entry with the shape of a tree, and the key of tensors that were not on the CPU."""


def dumps(tree: Any) -> bytes:
    """Write mappings, sequences, tensors and JSON values; named tuples become lists."""
    arrays: dict[str, Any] = {}
    shape = json.dumps(_stored(tree, arrays))
    arrays[_TREE] = np.frombuffer(shape.encode(), dtype=np.uint8)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def loads(content: bytes, device: torch.device | str = "cpu") -> Any:
    """Read what `dumps` wrote; tensors that were not on the CPU come to *device*."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return _read(json.loads(arrays[_TREE].tobytes()), arrays, device)


def rebuild(like: T, data: Any) -> T:
    """Give plain *data* the tuples of *like*, named or not, which has the same shape."""
    if not isinstance(like, tuple):
        return data
    parts = (rebuild(part, entry) for part, entry in zip(like, data, strict=True))
    return type(like)(*parts) if hasattr(like, "_fields") else type(like)(parts)


def _stored(value: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(value, Tensor):
        name = f"a{len(arrays)}"
        arrays[name] = value.detach().cpu().numpy()
        return {"tensor": name} if value.device.type == "cpu" else {"tensor": name, _MOVES: True}
    if isinstance(value, dict):
        return {"mapping": {key: _stored(entry, arrays) for key, entry in value.items()}}
    if isinstance(value, (list, tuple)):
        return [_stored(entry, arrays) for entry in value]
    return value


def _read(value: Any, arrays: Any, device: torch.device | str) -> Any:
    if isinstance(value, list):
        return [_read(entry, arrays, device) for entry in value]
    if isinstance(value, dict):
        if "tensor" in value:
            found = torch.from_numpy(arrays[value["tensor"]].copy())
            return found.to(device) if value.get(_MOVES) else found
        return {key: _read(entry, arrays, device) for key, entry in value["mapping"].items()}
    return value
