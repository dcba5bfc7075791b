"""What autograd recorded of a computation."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor
from torch.autograd.graph import Node


def nodes(value: Tensor) -> list[Node]:
    """Return the steps that a value was computed by."""
    todo, seen = [value.grad_fn], dict[Node, None]()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen[node] = None
        todo += [following for following, _ in node.next_functions]
    return list(seen)


def kept(value: Tensor) -> Iterator[Tensor]:
    """Yield the tensors that are kept for the backward pass, but for those inside functions of torch.func."""
    for node in nodes(value):
        for name in dir(node):
            found = getattr(node, name) if name.startswith("_saved_") else None
            if isinstance(found, Tensor) and _has_memory(found):
                yield found


def _has_memory(tensor: Tensor) -> bool:
    """Whether a tensor is one by itself, not one of those inside functions of torch.func."""
    try:
        tensor.untyped_storage().data_ptr()
    except RuntimeError:
        return False
    return True
