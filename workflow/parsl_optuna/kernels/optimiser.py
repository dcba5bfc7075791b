"""The state of Adam as plain tensors, so that training goes on to the last digit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def adam_state(optimiser: torch.optim.Optimizer, weights: Sequence[Tensor]) -> list[Any]:
    """Return ``[step, first moment, second moment]`` of every weight; empty before the first step."""
    states = [optimiser.state[one] for one in weights]
    return [
        [float(entry["step"]), entry["exp_avg"].clone(), entry["exp_avg_sq"].clone()]
        for entry in states
        if entry
    ]


def restore_adam(optimiser: torch.optim.Optimizer, weights: Sequence[Tensor], saved: Sequence[Any]) -> None:
    """Take back what `adam_state` returned."""
    for one, (step, first, second) in zip(weights, saved, strict=False):
        moments = {"exp_avg": first.to(one.device), "exp_avg_sq": second.to(one.device)}
        optimiser.state[one] = {"step": torch.tensor(step, device="cpu"), **moments}
