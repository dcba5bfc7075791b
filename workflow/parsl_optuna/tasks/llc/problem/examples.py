"""The user's data as one nested batch of tensors: arrays, a Dataset, a DataLoader, dicts and tuples of these.

Knows nothing of models and losses.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import SpecError

Batch = Any
"""A tensor, a constant, or a mapping, tuple or list of batches."""

_SHORT = (torch.int8, torch.int16, torch.int32)
_AUGMENTED = "examples differ each time they are read; those of one pass are the data"

_COLLATED = 256
"""Examples of a Dataset that are stacked at a time."""


@dataclass(frozen=True)
class Examples:
    """A data set in memory.

    Attributes:
        batch: All of it: every tensor has *n* rows; a mapping, a tuple or a list holds batches. Anything else
            is a constant that every minibatch gets as it is.
        n: Number of examples.
        notes: What a reader of the result should know of how the data were read.
    """

    batch: Batch
    n: int
    notes: tuple[str, ...] = ()

    @property
    def is_pair(self) -> bool:
        """Whether the data are inputs and targets."""
        return isinstance(self.batch, (tuple, list)) and len(self.batch) == 2

    def rows(self, chosen: Tensor | slice | int) -> Batch:
        """Return the minibatch of some rows."""
        return mapped(self.batch, lambda tensor: tensor[chosen])

    def to(self, device: torch.device, dtype: torch.dtype) -> Examples:
        """Return the data on a device, floating-point tensors in *dtype*."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)

        return Examples(mapped(self.batch, moved), self.n, self.notes)

    def bytes(self) -> int:
        """Return the memory that the tensors take."""
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors(self.batch))


@dataclass
class _Reading:
    """Limits of reading, and what was noticed.

    Attributes:
        deadline: When reading must have ended.
        most_bytes: Memory that the data may take.
        notes: As in `Examples`.
    """

    deadline: Deadline
    most_bytes: float
    notes: list[str] = field(default_factory=list)


def read(data: Any, deadline: Deadline | None = None, most_bytes: float = math.inf) -> Examples:
    """Read *data* into memory.

    Args:
        data: Tensors or arrays of n rows, in any nesting of mappings and tuples; a Dataset of examples; a
            list of examples (tuples or mappings); or a DataLoader, one pass of which is the data.
        deadline: When reading must have ended.
        most_bytes: Memory that the data may take.

    Raises:
        SpecError: Nothing to read, rows of unequal number, shapes that differ between batches, objects that
            are no numbers, NaN, or data beyond the limits.
    """
    if isinstance(data, Examples):
        return data
    reading = _Reading(deadline or Deadline(), most_bytes)
    batch = _indices(_collected(data, reading))
    counts = {name: len(tensor) for name, tensor in named(batch) if tensor.ndim}
    if not counts:
        raise SpecError(f"data: no tensor with rows in it, got {_described(data)}; give arrays of n rows")
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise SpecError(f"data: rows of unequal number ({listed}); every tensor has a row per example")
    n = next(iter(counts.values()))
    if not n:
        raise SpecError("data: no examples; the data set or loader is empty")
    for name, tensor in named(batch):
        if tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
            raise SpecError(f"data: {name} holds NaN; remove or mask these examples")
    found = Examples(batch, n, tuple(reading.notes))
    if found.bytes() > most_bytes:
        raise _too_large(found.bytes(), most_bytes)
    return found


def mapped(batch: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    """Apply *function* to every tensor with rows."""
    if isinstance(batch, Tensor):
        return function(batch) if batch.ndim else batch
    if isinstance(batch, Mapping):
        return {key: mapped(part, function) for key, part in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(mapped(part, function) for part in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(mapped(part, function) for part in batch)
    return batch


def axes(batch: Batch) -> Any:
    """Return 0 for every tensor with rows and None for every constant, nested as *batch* is."""
    if isinstance(batch, Tensor):
        return 0 if batch.ndim else None
    if isinstance(batch, Mapping):
        return {key: axes(part) for key, part in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(axes(part) for part in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(axes(part) for part in batch)
    return None


def named(batch: Batch, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor with the place where it stands, such as ``[0]['mask']``."""
    if isinstance(batch, Tensor):
        yield name or "the tensor", batch
    elif isinstance(batch, Mapping):
        for key, part in batch.items():
            yield from named(part, f"{name}[{key!r}]")
    elif isinstance(batch, (tuple, list)):
        for index, part in enumerate(batch):
            yield from named(part, f"{name}[{index}]")


def tensors(batch: Batch) -> list[Tensor]:
    """List every tensor with rows."""
    return [tensor for _, tensor in named(batch) if tensor.ndim]


def _collected(data: Any, reading: _Reading) -> Batch:
    """Bring any kind of data into columns."""
    if isinstance(data, TensorDataset):
        return _as_tensors(tuple(data.tensors))
    if isinstance(data, DataLoader):
        return _joined((_as_tensors(batch) for batch in _checked(data, reading)), reading)
    if isinstance(data, IterableDataset):
        return _joined(_stacked(iter(data)), reading)
    if isinstance(data, Dataset) or _is_sequence_of_examples(data):
        return _from_map(data, reading)
    if isinstance(data, (Tensor, np.ndarray, Mapping, tuple, list)):
        return _as_tensors(data)
    if hasattr(data, "iloc"):
        raise SpecError(
            "data: a pandas table; give arrays, such as (table[inputs].to_numpy(), table[y].to_numpy())"
        )
    if isinstance(data, Iterator):
        raise SpecError(
            "data: a generator, of which it is unknown whether it ends; give a list, Dataset or DataLoader"
        )
    raise SpecError(f"data: cannot read {_described(data)}; give tensors, arrays, a Dataset or a DataLoader")


def _is_sequence_of_examples(data: Any) -> bool:
    """Whether *data* is a list of examples, or behaves like a Dataset."""
    if isinstance(data, list):
        return bool(data) and all(isinstance(example, (tuple, Mapping)) for example in data)
    known = isinstance(data, (Tensor, np.ndarray, Mapping, tuple, str, bytes)) or hasattr(data, "iloc")
    return not known and hasattr(data, "__getitem__") and hasattr(data, "__len__")


def _checked(loader: DataLoader[Any], reading: _Reading) -> DataLoader[Any]:
    """Refuse loaders one pass of which is not the data set; note what a pass leaves out."""
    plain = (SequentialSampler, RandomSampler)
    sampler = loader.sampler
    if isinstance(sampler, RandomSampler) and sampler.replacement:
        raise SpecError("data: the DataLoader draws examples with replacement; give its dataset instead")
    if isinstance(loader.dataset, IterableDataset):
        if loader.num_workers > 1:  # each yields all of it, unless it asks which worker it is
            raise SpecError(
                f"data: {loader.num_workers} workers read one IterableDataset and may each yield all of it; "
                "take num_workers=0"
            )
        return loader
    data: Any = loader.dataset
    with suppress(KeyError, IndexError):  # of other keys than numbers
        if not _equal(data[0], data[0]):
            reading.notes.append(_AUGMENTED)
    if loader.batch_size is None and loader.batch_sampler is not None:
        name = type(loader.batch_sampler).__name__
        reading.notes.append(f"the DataLoader's {name} is taken to give every example once")
    if isinstance(sampler, RandomSampler) and sampler.num_samples != len(data):
        drawn = sampler.num_samples
        raise SpecError(
            f"data: the DataLoader draws {drawn} examples of its dataset; give the dataset instead"
        )
    if loader.batch_size is not None:
        if not isinstance(sampler, plain):
            name = type(sampler).__name__
            raise SpecError(
                f"data: the DataLoader's {name} may repeat or skip examples; give its dataset instead"
            )
        size = len(data)
        left_out = size % loader.batch_size
        if loader.drop_last and left_out:
            reading.notes.append(f"drop_last=True leaves {left_out} of {size} examples out of the data")
    return loader


def _from_map(data: Any, reading: _Reading) -> Batch:
    size = len(data)
    if not size:
        raise SpecError("data: no examples; the data set is empty")
    if not _equal(data[0], data[0]):
        reading.notes.append(_AUGMENTED)
    return _joined(_stacked(data[index] for index in range(size)), reading)


def _stacked(examples: Iterable[Any]) -> Iterator[Batch]:
    """Stack examples into batches."""
    examples = iter(examples)
    while part := list(itertools.islice(examples, _COLLATED)):
        try:
            batch = default_collate(part)
        except (RuntimeError, TypeError, KeyError, ValueError) as error:
            raise SpecError(f"data: examples cannot be stacked into a batch: {_line(error)}") from error
        yield _as_tensors(batch)


def _joined(batches: Iterator[Batch], reading: _Reading) -> Batch:
    """Concatenate batches; raise when time or memory ends before they do."""
    parts: list[Batch] = []
    taken = 0
    for batch in batches:
        parts.append(batch)
        taken += sum(tensor.numel() * tensor.element_size() for tensor in tensors(batch))
        if taken > reading.most_bytes:
            raise _too_large(taken, reading.most_bytes)
        if reading.deadline.expired:
            rows = sum(len(tensors(part)[0]) for part in parts if tensors(part))
            raise SpecError(
                f"data: {rows} examples were read when budget_sec ended; does the data set ever end?"
            )
    if not parts:
        raise SpecError("data: no examples; the data set or loader is empty")
    return _concatenated(parts, "data")


def _concatenated(parts: Sequence[Batch], where: str) -> Batch:
    first = parts[0]
    if isinstance(first, Tensor):
        if not first.ndim:
            return first
        shapes = {tuple(part.shape[1:]) for part in parts}
        if len(shapes) > 1:
            listed = " and ".join(map(str, sorted(shapes)[:2]))
            raise SpecError(
                f"{where}: examples of shapes {listed} in different batches; pad all to one shape"
            )
        return torch.cat(list(parts))
    if isinstance(first, Mapping):
        return {key: _concatenated([part[key] for part in parts], f"{where}[{key!r}]") for key in first}
    if isinstance(first, (tuple, list)):
        columns = zip(*parts, strict=True)
        joined = [_concatenated(column, f"{where}[{index}]") for index, column in enumerate(columns)]
        return type(first)(*joined) if hasattr(first, "_fields") else type(first)(joined)
    if any(part != first for part in parts):
        raise SpecError(f"{where}: {first!r} in one batch and something else in another; it must be constant")
    return first


def _as_tensors(batch: Any, where: str = "data") -> Batch:
    """Turn arrays into tensors; keep constants."""
    if isinstance(batch, np.generic):
        return batch.item()
    if isinstance(batch, np.ndarray):
        return _from_array(batch, where)
    if isinstance(batch, Tensor):
        if batch.is_nested:
            raise SpecError(f"{where}: a nested tensor; pad it with .to_padded_tensor()")
        if batch.layout != torch.strided or batch.is_quantized:
            raise SpecError(
                f"{where}: a tensor of layout {batch.layout}; give a plain one, such as .to_dense()"
            )
        return batch.detach()
    if isinstance(batch, Mapping):
        return {key: _as_tensors(part, f"{where}[{key!r}]") for key, part in batch.items()}
    if (
        isinstance(batch, list)
        and batch
        and all(isinstance(part, (bool, int, float, list)) for part in batch)
    ):
        return _from_array(np.asarray(batch), where)
    if isinstance(batch, (tuple, list)):
        if batch and all(isinstance(part, (str, bytes)) for part in batch):
            raise SpecError(f"{where}: text, such as {batch[0]!r}; turn it into numbers, or leave it out")
        parts = [_as_tensors(part, f"{where}[{index}]") for index, part in enumerate(batch)]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    if batch is None or isinstance(batch, (bool, int, float, str)):
        return batch
    raise SpecError(f"{where}: cannot read {_described(batch)}; give tensors or arrays")


def _from_array(array: np.ndarray[Any, Any], where: str) -> Tensor:
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # torch hardly computes with these
        array = array.astype(np.int64)
    if array.dtype.kind not in "biufc":
        raise SpecError(f"{where}: an array of {array.dtype}; give one of numbers")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def _indices(batch: Batch) -> Batch:
    """Turn short integers into those that torch takes for indices; unsigned bytes of inputs stay pixels."""
    is_pair = type(batch) in (tuple, list) and len(batch) == 2
    if not is_pair:
        return mapped(batch, partial(_longer, _SHORT))
    x, y = batch
    return type(batch)(
        [mapped(x, partial(_longer, _SHORT)), mapped(y, partial(_longer, (*_SHORT, torch.uint8)))]
    )


def _longer(dtypes: tuple[torch.dtype, ...], tensor: Tensor) -> Tensor:
    return tensor.long() if tensor.dtype in dtypes else tensor


def _equal(first: Any, second: Any) -> bool:
    try:
        pairs = zip(named(_as_tensors(first)), named(_as_tensors(second)), strict=True)
        return all(torch.equal(a, b) for (_, a), (_, b) in pairs)
    except (SpecError, ValueError):
        return True  # no tensors to compare; stacking will tell


def _too_large(taken: int, most: float) -> SpecError:
    return SpecError(
        f"data: more than {taken / 2**30:.2g} GiB; memory_gb allows {most / 2**30:.2g} for it: raise "
        "memory_gb, or take fewer examples"
    )


def _described(value: Any) -> str:
    text = repr(value)
    return f"a {type(value).__name__}" + (f" ({text})" if len(text) <= 40 else "")


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
