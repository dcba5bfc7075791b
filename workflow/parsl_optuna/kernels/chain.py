"""The one loop that runs every Markov kernel, under a deadline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Generator, Tensor

from parsl_optuna.core.clock import Expired
from parsl_optuna.kernels.types import Info, Kernel

S = TypeVar("S")


class Expiring(Protocol):
    """A `Deadline`, or what behaves like one."""

    @property
    def expired(self) -> bool:
        """Whether to end."""
        ...


class Trace(NamedTuple):
    """What a run recorded; each tensor is ``(draws, chains)``.

    Attributes:
        values: The observables, by name.
        acceptance: Acceptance probability of every recorded draw.
        energy_change: Energy error of every recorded draw.
        diverged: Whether a step since the last record diverged.
        grad_evals: Gradient evaluations of one chain.
        n_steps: Steps done.
        truncated: Whether the deadline ended the run.
    """

    values: dict[str, Tensor]
    acceptance: Tensor
    energy_change: Tensor
    diverged: Tensor
    grad_evals: int
    n_steps: int
    truncated: bool

    @property
    def n_draws(self) -> int:
        """Recorded draws per chain."""
        return self.acceptance.shape[0]


@dataclass(frozen=True)
class Schedule:
    """How many steps to run and which to record.

    Args:
        n_steps: Steps in all.
        every: Record each ``every``-th step.
        first: Steps that an earlier call has done.
    """

    n_steps: int
    every: int = 1
    first: int = 0


def run(
    kernel: Kernel[S],
    state: S,
    generator: Generator,
    schedule: Schedule,
    observe: Callable[[S, S], dict[str, Tensor]],
    deadline: Expiring,
) -> tuple[S, Trace]:
    """Run a kernel and record observables.

    Args:
        kernel: The kernel.
        state: Where it starts.
        generator: Source of randomness.
        schedule: Number of steps, and how often to record.
        observe: ``(state before the step, state after) -> {name: (chains,)}``.
        deadline: Checked after every step. A step that raises `Expired` is undone and ends the run.
    """
    rows: list[dict[str, Tensor]] = []
    infos: list[Info] = []
    grad_evals, done, diverged = 0, schedule.first, None
    for done in range(schedule.first + 1, schedule.n_steps + 1):
        before = state
        try:
            state, info = kernel.step(state, generator)
            row = observe(before, state) if done % schedule.every == 0 else None
        except Expired:
            state, done = before, done - 1
            break
        grad_evals += info.grad_evals
        diverged = info.diverged if diverged is None else diverged | info.diverged
        if row is not None:
            rows.append(row)
            infos.append(info._replace(diverged=diverged))
            diverged = None
        if deadline.expired:
            break
    return state, _stack(rows, infos, grad_evals, done - schedule.first, truncated=done < schedule.n_steps)


def nothing() -> Trace:
    """Return a trace without a draw."""
    return _stack([], [], 0, 0, truncated=False)


def extend(first: Trace, second: Trace) -> Trace:
    """Join two successive traces of the same chains; one may hold no draw."""
    if not (first.n_draws and second.n_draws):
        drawn = first if first.n_draws else second
        counts = (first.grad_evals + second.grad_evals, first.n_steps + second.n_steps)
        return Trace(*drawn[:4], *counts, second.truncated)
    values = {name: torch.cat([first.values[name], second.values[name]]) for name in first.values}
    return Trace(
        values,
        torch.cat([first.acceptance, second.acceptance]),
        torch.cat([first.energy_change, second.energy_change]),
        torch.cat([first.diverged, second.diverged]),
        first.grad_evals + second.grad_evals,
        first.n_steps + second.n_steps,
        second.truncated,
    )


def beside(first: Trace, second: Trace) -> Trace:
    """Join traces of different chains, with as many draws; the first may hold none."""
    if not first.n_draws:
        return second
    return Trace(
        {name: torch.cat([first.values[name], second.values[name]], dim=1) for name in first.values},
        torch.cat([first.acceptance, second.acceptance], dim=1),
        torch.cat([first.energy_change, second.energy_change], dim=1),
        torch.cat([first.diverged, second.diverged], dim=1),
        max(first.grad_evals, second.grad_evals),
        max(first.n_steps, second.n_steps),
        first.truncated or second.truncated,
    )


def thinned(trace: Trace) -> Trace:
    """Drop every second draw; a divergence of a dropped one counts for the one after it."""
    pairs = trace.n_draws // 2 * 2
    diverged = trace.diverged[:pairs:2] | trace.diverged[1:pairs:2]
    return _picked(trace, slice(1, pairs, 2))._replace(diverged=diverged)


def later_half(trace: Trace) -> Trace:
    """Drop the first half of the draws; the work done stays counted."""
    return _picked(trace, slice(trace.n_draws // 2, None))


def _picked(trace: Trace, draws: slice) -> Trace:
    return trace._replace(
        values={name: value[draws] for name, value in trace.values.items()},
        acceptance=trace.acceptance[draws],
        energy_change=trace.energy_change[draws],
        diverged=trace.diverged[draws],
    )


def _stack(
    rows: list[dict[str, Tensor]], infos: list[Info], grad_evals: int, done: int, *, truncated: bool
) -> Trace:
    """Return a trace, which lies on the CPU: diagnostics need float64, which not every device has."""
    names = rows[0] if rows else {}
    empty = torch.empty(0, 0, device="cpu")
    return Trace(
        {name: torch.stack([row[name] for row in rows]).cpu() for name in names},
        torch.stack([info.acceptance for info in infos]).cpu() if infos else empty,
        torch.stack([info.energy_change for info in infos]).cpu() if infos else empty,
        torch.stack([info.diverged for info in infos]).cpu() if infos else empty.bool(),
        grad_evals,
        done,
        truncated,
    )
