"""What a run computes on: the device, one core of the machine, and memory that stays."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from parsl_optuna.core.errors import SpecError, TaskError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_LARGE_BLOCK, _KEPT = 2**25, 2**28
"""Bytes: the largest block that glibc lets be reused, 32 MiB on 64-bit systems, and what a worker may
keep.
"""


def device_of(name: str) -> torch.device:
    """Return a device by name: ``cpu``, ``cuda``, or ``auto``, a GPU where the worker has one.

    Raises:
        TaskError: A GPU is asked for where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise TaskError("device cuda: this worker has no GPU that torch can use; take auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def device_named(name: str) -> torch.device:
    """Return the device ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises:
        SpecError: torch has none of that name here.
    """
    device = torch.device(name)
    counts = {"cuda": torch.cuda.device_count, "mps": torch.backends.mps.is_available, "cpu": lambda: 1}
    count = int(counts[device.type]())
    if not count:
        raise SpecError(f"device '{name}': torch finds none on this machine; take cpu")
    if (device.index or 0) >= count:
        raise SpecError(f"device '{name}': this machine has {count}, counted from 0")
    return device


def devices_named(names: str) -> list[torch.device]:
    """Return the devices of names with commas between them, each as `device_named` does."""
    return [device_named(name.strip()) for name in names.split(",")]


def without_number(device: torch.device) -> AbstractContextManager[Any]:
    """Make a GPU the one that code means, in this thread, which says ``cuda`` alone."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def precision_of(device: torch.device) -> torch.dtype:
    """Return the widest floating-point numbers that a device has."""
    return torch.float32 if device.type == "mps" else torch.float64


def precise(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, on the CPU where its device has none."""
    return tensor.to(torch.device("cpu") if tensor.device.type == "mps" else tensor.device, torch.float64)


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute products of float32 in float32, whatever else this process is set to.

    By default cuDNN rounds what it multiplies in convolutions and recurrent layers to the 10 bits of TF32: an
    energy is then off by a thousandth of t times the loss, which is more than a draw allows.
    """
    parts = _float32_parts()
    settings = [part.fp32_precision for part in parts]
    try:
        known = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:  # of a process that set parts alone, which PyTorch then wants for good
        known = None
    if known is not None:  # so that the user's code may go on with `torch.backends.cudnn.flags`
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
    for part in parts:
        _set(part, "ieee")
    try:
        yield
    finally:
        if known is not None:
            torch.set_float32_matmul_precision(known[0])
            torch.backends.cudnn.allow_tf32 = known[1]
        for part, setting in zip(parts, settings, strict=True):
            _set(part, setting)


def _float32_parts() -> list[Any]:
    """Return what has a precision of its own for products of float32; nothing before torch 2.9."""
    backends: Any = torch.backends
    if not hasattr(backends.cuda.matmul, "fp32_precision"):
        return []
    return [
        backends.cuda.matmul,
        *(part for one in (backends.cudnn, backends.mkldnn) for part in (one.conv, one.rnn)),
        backends.mkldnn.matmul,
    ]


def _set(part: Any, precision: str) -> None:
    if part.fp32_precision != precision:
        part.fp32_precision = precision


def one_core() -> None:
    """Compute on one core from here on, as workers do: they run beside one another."""
    torch.set_num_threads(1)
    keep_memory()


def keep_memory() -> None:
    """Let this process keep up to 256 MiB that it has freed, where its allocator is glibc's.

    It would give every block of more than 128 KiB back at once, and take it again a moment later: a page
    fault per 4 KiB, which is half of the time of a step of many chains.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_MMAP_THRESHOLD, _LARGE_BLOCK)
        tune(_TRIM_THRESHOLD, _KEPT)
