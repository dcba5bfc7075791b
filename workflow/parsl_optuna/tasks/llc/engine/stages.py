"""A run as a sequence of stages that a later attempt can continue.

A stage that has ended is not run again: its result is read back. The current one continues from its last
save. Everything between stages is deterministic and is simply done again, so the same calls must come in the
same order. Knows where progress is kept only as four functions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from torch import Generator, Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain
from parsl_optuna.kernels.adapt import HasPosition, WarmedUp, WarmUp
from parsl_optuna.kernels.snapshot import dumps, loads, rebuild
from parsl_optuna.kernels.types import Kernel

S = TypeVar("S")
P = TypeVar("P", bound=HasPosition)


class Progress(Protocol):
    """Where progress is kept."""

    def due(self) -> bool:
        """Whether to save now."""
        ...

    def save(self, content: bytes) -> None:
        """Keep *content*; may raise to end the run."""

    def load(self) -> bytes | None:
        """Return what an earlier attempt kept last."""
        ...

    def keep(self, make: Callable[[], bytes]) -> None:
        """Keep the end, if that is wanted."""


class Meter(Protocol):
    """Counts the work of a run."""

    work: float


Report = Callable[[int, Tensor], None]
"""Takes the number of steps of a stage so far, and its draws ``(draws, chains)`` of what is estimated."""


class _UntilDue:
    """Expires when the deadline does, when saving is due, or when it is time to report."""

    def __init__(self, deadline: Deadline, progress: Progress, until: float) -> None:
        self._deadline, self._progress, self._until = deadline, progress, until
        self.is_due = False

    @property
    def expired(self) -> bool:
        self.is_due = self.is_due or self._progress.due()
        return self.is_due or self._deadline.expired or time.monotonic() >= self._until


class Stages:
    """Runs stages, and keeps them.

    Args:
        progress: Where they are kept.
        stream: The run's only source of randomness.
        meter: Its work, kept with the stages.
        report: Called with the draws of a stage every *report_sec*; changes nothing.
        report_sec: Seconds.

    Attributes:
        last_draws: Steps and draws of the last stage that had some, for a picture; None before one.
    """

    def __init__(
        self,
        progress: Progress,
        stream: Generator,
        meter: Meter,
        report: Report | None = None,
        report_sec: float = 2.0,  # curves and pruners need no more, and reports cost a file write each
    ) -> None:
        self.stream = stream
        self._report, self._report_sec = report, report_sec
        self._progress, self._meter = progress, meter
        content = progress.load()
        self._kept: list[Any] = loads(content, stream.device) if content is not None else []
        self._next = 0
        self._until: _UntilDue | None = None
        self.last_draws: Callable[[], tuple[int, Tensor]] | None = None

    def run(
        self,
        step: Callable[[S], S],
        state: S,
        has_ended: Callable[[S], bool],
        drawn: Callable[[S], tuple[int, Tensor]] | None = None,
        wanted: int | None = None,
        is_short: Callable[[S], bool] = lambda _: False,
    ) -> S:
        """Call *step* until *state* has ended, as one stage that is kept whenever saving is due.

        Args:
            step: The state after the next step. One that takes long ends early by `until`.
            state: The start; a named tuple of tensors and plain values.
            has_ended: Whether a state is the last one.
            drawn: Steps and draws so far, for `Report`.
            wanted: How many steps the stage is asked for, where a longer run may ask for more.
            is_short: Whether a stage that has ended has fewer steps than it is asked for now, and may
            continue.
                It does if it is the last one or is asked for more than before: what came after it starts
                anew.
        """
        self._next += 1
        if drawn is not None:
            self.last_draws = lambda: drawn(state)
        if self._next <= len(self._kept):
            kept = self._kept[self._next - 1]
            state = rebuild(state, kept["data"])
            self.stream.set_state(kept["random"].cpu())  # of any device
            self._meter.work = kept["work"]
            is_last = self._next == len(self._kept)
            asked_for_more = wanted is not None and wanted > kept.get("wanted", wanted)
            if kept["ended"] and not (is_short(state) and (is_last or asked_for_more)):
                return state
        reported_at = time.monotonic()
        while not has_ended(state):
            state = step(state)
            if self._report is not None and drawn and time.monotonic() - reported_at >= self._report_sec:
                work = self._meter.work  # a report is no work of the method
                steps, draws = drawn(state)
                if draws.numel():
                    self._report(steps, draws)
                self._meter.work, reported_at = work, time.monotonic()
            if self._is_due() and not has_ended(state):
                self._keep(state, ended=False)
        self._keep(state, ended=True, wanted=wanted)
        return state

    def warm_up(self, run: WarmUp[P], position: Tensor, deadline: Deadline) -> WarmedUp[P]:
        """Warm up from *position* ``(chains, dim)`` as one stage."""

        def has_ended(at: Any) -> bool:
            return at.n_steps >= run.plan.n_steps or (at.n_steps > 0 and deadline.expired)

        begin = run.start(position, self.stream)
        return run.result(self.run(lambda at: run.step(at, self.stream), begin, has_ended))

    def chain(
        self,
        kernel: Kernel[S],
        state: S,
        schedule: chain.Schedule,
        observe: Callable[[S, S], dict[str, Tensor]],
        deadline: Deadline,
    ) -> tuple[S, chain.Trace]:
        """Run `chain.run` as one stage, which a longer run continues."""

        def step(at: tuple[S, chain.Trace]) -> tuple[S, chain.Trace]:
            state, trace = at
            rest = chain.Schedule(schedule.n_steps, schedule.every, trace.n_steps)
            state, more = chain.run(kernel, state, self.stream, rest, observe, self.until(deadline))
            return state, chain.extend(trace, more)

        def is_short(at: tuple[S, chain.Trace]) -> bool:
            return at[1].n_steps < schedule.n_steps and not deadline.expired

        def has_ended(at: tuple[S, chain.Trace]) -> bool:
            # A first step that a loss out of time raises `Expired` in leaves no step, but a truncated trace.
            return at[1].n_steps >= schedule.n_steps or (at[1].truncated and deadline.expired)

        begin, wanted = (state, chain.nothing()), schedule.n_steps
        state, trace = self.run(step, begin, has_ended, lambda at: excess_of(at[1]), wanted, is_short)
        return state, trace._replace(truncated=trace.n_steps < schedule.n_steps)

    def count(
        self,
        step: Callable[[S], S],
        state: S,
        n_steps: int,
        deadline: Deadline,
        draws: Callable[[S, Generator], Tensor],
    ) -> tuple[S, int]:
        """Call *step* up to *n_steps* times, as one stage that a longer run continues; also return how often.

        *draws* gives a few draws ``(draws, chains)`` of what is estimated, for `Report`.
        """

        def has_ended(at: tuple[S, int]) -> bool:
            return at[1] >= n_steps or (at[1] > 0 and deadline.expired)

        def step_on(at: tuple[S, int]) -> tuple[S, int]:
            return step(at[0]), at[1] + 1

        return self.run(
            step_on,
            (state, 0),
            has_ended,
            lambda at: (at[1], draws(at[0], Generator(self.stream.device).manual_seed(at[1]))),
            n_steps,
            lambda at: at[1] < n_steps and not deadline.expired,
        )

    def until(self, deadline: Deadline) -> chain.Expiring:
        """Return what expires with *deadline*, or when it is time to save or to report."""
        pause = math.inf if self._report is None else time.monotonic() + self._report_sec
        self._until = _UntilDue(deadline, self._progress, pause)
        return self._until

    def close(self) -> None:
        """Keep the end of the run, for a longer one."""
        self._progress.keep(lambda: dumps(self._kept))

    def _is_due(self) -> bool:
        """Whether to save now, or the last step has ended early for it."""
        until, self._until = self._until, None
        return (until is not None and until.is_due) or self._progress.due()

    def _keep(self, data: Any, *, ended: bool, wanted: int | None = None) -> None:
        """Keep the stage as it is; write it, if it has not ended or if saving is due."""
        random = self.stream.get_state()
        entry = {"data": data, "ended": ended, "random": random, "work": self._meter.work}
        if wanted is not None:
            entry["wanted"] = wanted
        self._kept[self._next - 1 :] = [entry]
        if not ended or self._progress.due():
            self._progress.save(dumps(self._kept))


def excess_of(trace: chain.Trace) -> tuple[int, Tensor]:
    """Return the steps and the draws ``(draws, chains)`` of t (L - L0) of *trace*, for `Report`."""
    return trace.n_steps, trace.values.get("excess", trace.acceptance[:0])
