"""Whether two copies of a user's model and loss can compute at the same time, each in a thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor

from parsl_optuna.core.clock import Expired
from parsl_optuna.core.errors import SpecError
from parsl_optuna.kernels.device import without_number
from parsl_optuna.tasks.llc.problem.module import ModuleLoss

_Found = TypeVar("_Found")
_Line = tuple[CodeType, int]

_STDLIB, _TORCH = (str(Path(module.__file__ or "").parent) + os.sep for module in (os, torch))
_PACKAGE = str(Path(__file__).parents[3]) + os.sep
"""Where code lies that is not the user's."""

_MOST_LINES = 200
"""Lines before which a pass is interrupted, of a model with more of them."""

_AGREEMENT = {torch.float64: 1e-5}
"""Relative difference between equal passes: sums in another order, in code that takes float32 inside."""


def check_copy(first: ModuleLoss, copy: ModuleLoss, device: torch.device) -> None:
    """Refuse a copy that gives other numbers than the first one."""
    w = _moved(first)
    with without_number(device):
        found = copy.tried(w.to(device)).to(w)
    if not _agree(found, first.tried(w)):
        raise SpecError(
            f"device '{device}': a copy of model and loss gives other numbers there; take one device"
        )


def check_apart(first: ModuleLoss, copy: ModuleLoss, device: torch.device) -> None:
    """Hold a pass of the first one against one that is interrupted by passes of the copy at other weights.

    What both share (a list that hooks fill, a global, the state of random numbers) threads would mix up, now
    and then. So the first one's pass is held before each line of the user's code until the copy has had one.

    Raises:
        SpecError: They differ.
    """
    w, start = _moved(first), first.flat().to(device)
    expected, lines = first.tried(w), _lines(partial(first.tried, w))

    def theirs() -> Tensor:
        with without_number(device):
            return copy.tried(start)

    with ThreadPoolExecutor(1) as thread:
        try:
            found = _interrupted(
                partial(first.tried, w),
                lambda: thread.submit(theirs).result(),
                lines[:: len(lines) // _MOST_LINES + 1],
            )
        except Expired:
            raise
        except SpecError:  # what is mixed up may not fit
            found = torch.full_like(expected, torch.nan)
    if not _agree(found, expected):
        raise SpecError(
            "device: model and loss share something with their copies that a pass changes (a list that hooks "
            "fill, a global, the seed of random numbers), so that several devices cannot compute at the same "
            "time; keep it in the model, or take one device"
        )


def _moved(loss: ModuleLoss) -> Tensor:
    """Return weights ``(dim,)`` near those that the model has."""
    start, stream = loss.flat(), Generator("cpu").manual_seed(0)
    noise = torch.randn(loss.dim, generator=stream, dtype=torch.float64, device="cpu").to(start)
    return start + 0.05 * (start.abs().mean() + 0.1) * noise


def _agree(found: Tensor, expected: Tensor) -> bool:
    allowed = _AGREEMENT.get(found.dtype, 1e-3)
    return bool((found - expected).norm() <= allowed * expected.norm() + 1e-12)


def _lines(call: Callable[[], object]) -> list[_Line]:
    """Return the lines of the user's code that a call comes to, in this order."""
    seen: dict[_Line, None] = {}
    _traced(call, lambda line: seen.setdefault(line))
    return list(seen)


def _interrupted(
    call: Callable[[], _Found], meanwhile: Callable[[], object], lines: Sequence[_Line]
) -> _Found:
    """Call, and call *meanwhile* before each of the *lines*, the first time that it is come to."""
    left = set(lines)

    def at(line: _Line) -> None:
        if line in left:
            left.remove(line)
            meanwhile()

    return _traced(call, at)


def _traced(call: Callable[[], _Found], at: Callable[[_Line], object]) -> _Found:
    """Call, and call *at* before every line of the user's code."""

    def entered(frame: FrameType, event: str, _: Any) -> Any:
        del event
        return line if _is_users(frame.f_code.co_filename) else None

    def line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            at((frame.f_code, frame.f_lineno))
        return line

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        return call()
    finally:
        sys.settrace(before)


def _is_users(path: str) -> bool:
    if path.startswith((_TORCH, _PACKAGE, "<frozen")):
        return False
    return "site-packages" in path or not path.startswith(_STDLIB)
