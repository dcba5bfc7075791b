"""The device that a run computes on."""

from __future__ import annotations

import torch

from workflow.errors import TaskError


def device_of(name: str) -> torch.device:
    """Return a device by name: ``cpu``, ``cuda``, or ``auto``, a GPU where the worker has one.

    Raises:
        TaskError: A GPU is asked for where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise TaskError("device cuda: this worker has no GPU that torch can use; take auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
