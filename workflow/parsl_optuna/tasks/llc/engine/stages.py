"""A run as a sequence of stages that a later attempt can go on from.

A stage that has ended is not run again: its result is read back. The current one goes on from its last save.
Everything between stages is deterministic and is simply done again, so the same calls must come in the
same order. Knows where progress is kept only as three functions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from torch import Generator, Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain
from parsl_optuna.kernels.adapt import HasPosition, Plan, StepRule, WarmedUp, WarmUp
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
    """What counts the work of a run."""

    work: float


Tell = Callable[[int, Tensor], None]
"""Takes the number of steps of a stage so far, and its draws ``(draws, chains)`` of what is estimated."""


class _UntilDue:
    """Expires when the deadline does, when saving is due, or when it is time to tell."""

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
        tell: Called with the draws of a stage every *tell_sec*; changes nothing.
        observable: Which draws of a chain.
        tell_sec: Seconds.
    """

    def __init__(
        self,
        progress: Progress,
        stream: Generator,
        meter: Meter,
        tell: Tell | None = None,
        tell_sec: float = 2.0,
        observable: str = "excess",
    ) -> None:
        self.stream = stream
        self._tell, self._tell_sec, self._observable = tell, tell_sec, observable
        self._progress, self._meter = progress, meter
        content = progress.load()
        self._kept: list[Any] = loads(content) if content is not None else []
        self._next = 0
        self._until: _UntilDue | None = None

    def warm_up(
        self,
        make: Callable[[float, Tensor], Kernel[P]],
        rule: StepRule,
        plan: Plan,
        position: Tensor,
        deadline: Deadline,
    ) -> WarmedUp[P]:
        """Run an `adapt.WarmUp` as one stage that is kept whenever saving is due."""
        kept = self._open()
        run = WarmUp(make, rule, plan, position, self.stream)
        if kept is not None:
            self._restore()
            if kept["ended"]:
                state, *rest = kept["data"]
                return WarmedUp(rebuild(run.result().state, state), *rest)
            run.restore(kept["data"])
        while not run.has_ended:
            run.step()
            if deadline.expired:
                break
            if self._progress.due():
                self._keep(run.snapshot(), ended=False)
        warm = run.result()
        self._keep(list(warm), ended=True)
        return warm

    def chain(
        self,
        kernel: Kernel[S],
        state: S,
        schedule: chain.Schedule,
        observe: Callable[[S, S], dict[str, Tensor]],
        deadline: Deadline,
    ) -> tuple[S, chain.Trace]:
        """Run `chain.run` as one stage that is kept whenever saving is due."""
        kept = self._open()
        trace = None
        if kept is not None:
            saved, numbers = kept["data"]
            state, trace = rebuild(state, saved), chain.Trace(*numbers)
            self._restore()
            if kept["ended"] and not self._goes_on(kept, trace.n_steps, schedule.n_steps, deadline):
                return state, trace
        while True:
            until = _UntilDue(deadline, self._progress, self._pause())
            done = 0 if trace is None else trace.n_steps
            rest = chain.Schedule(schedule.n_steps, schedule.every, done)
            state, more = chain.run(kernel, state, self.stream, rest, observe, until)
            trace = more if trace is None else chain.extend(trace, more)
            if trace.n_steps >= schedule.n_steps or deadline.expired:
                trace = trace._replace(truncated=trace.n_steps < schedule.n_steps)
                self._keep([state, trace], ended=True, wanted=schedule.n_steps)
                return state, trace
            if until.is_due:
                self._keep([state, trace], ended=False)
            if self._tell is not None and trace.n_draws and self._observable in trace.values:
                self._tell(trace.n_steps, trace.values[self._observable])

    def loop(
        self,
        step: Callable[[S], S],
        state: S,
        n_steps: int,
        deadline: Deadline,
        draws: Callable[[S, Generator], Tensor],
    ) -> tuple[S, int]:
        """Call *step* up to *n_steps* times as one stage; also return how many times it was called.

        *draws* gives a few draws ``(draws, chains)`` of what is estimated, for `Tell`.
        """
        kept, done = self._open(), 0
        if kept is not None:
            saved, done = kept["data"]
            state = rebuild(state, saved)
            self._restore()
            if kept["ended"] and deadline.expired:
                return state, done
        told_at = time.monotonic()
        while done < n_steps:
            state, done = step(state), done + 1
            if deadline.expired:
                break
            if self._tell is not None and time.monotonic() - told_at >= self._tell_sec:
                work = self._meter.work  # what is only told is no work of the method
                self._tell(done, draws(state, Generator().manual_seed(done)))
                self._meter.work, told_at = work, time.monotonic()
            if self._progress.due():
                self._keep([state, done], ended=False)
        self._keep([state, done], ended=True)
        return state, done

    def through(
        self,
        step: Callable[[S], S],
        state: S,
        has_ended: Callable[[S], bool],
        drawn: Callable[[S], tuple[int, Tensor]] | None = None,
    ) -> S:
        """Call *step* until *state* has ended, as one stage that is kept whenever saving is due.

        *drawn* gives the steps and draws so far, for `Tell`. A step that takes long ends early by `until`.
        """
        kept = self._open()
        if kept is not None:
            state = rebuild(state, kept["data"])
            self._restore()
            if kept["ended"]:
                return state
        told_at = time.monotonic()
        while not has_ended(state):
            state = step(state)
            if self._tell is not None and drawn and time.monotonic() - told_at >= self._tell_sec:
                self._tell(*drawn(state))
                told_at = time.monotonic()
            if self._is_due() and not has_ended(state):
                self._keep(state, ended=False)
        self._keep(state, ended=True)
        return state

    def until(self, deadline: Deadline) -> chain.Expiring:
        """Return what expires with *deadline*, or when it is time to save or to tell."""
        self._until = _UntilDue(deadline, self._progress, self._pause())
        return self._until

    def close(self) -> None:
        """Keep the end of the run, for a longer one."""
        self._progress.keep(lambda: dumps(self._kept))

    def _is_due(self) -> bool:
        """Whether to save now, or the last step has ended early for it."""
        until, self._until = self._until, None
        return (until is not None and until.is_due) or self._progress.due()

    def _pause(self) -> float:
        """Return when it is time to tell."""
        return math.inf if self._tell is None else time.monotonic() + self._tell_sec

    def _open(self) -> Any:
        """Begin the next stage; return what is kept of it."""
        self._next += 1
        return self._kept[self._next - 1] if self._next <= len(self._kept) else None

    def _goes_on(self, kept: Any, done: int, wanted: int, deadline: Deadline) -> bool:
        """Whether a stage that has ended is to be longer now: it is asked for more, or time had cut it short.

        What came after it starts anew then, so that the second holds for the last stage only.
        """
        is_last = self._next == len(self._kept)
        return done < wanted and not deadline.expired and (is_last or wanted > kept.get("wanted", wanted))

    def _keep(self, data: Any, *, ended: bool, wanted: int | None = None) -> None:
        """Keep the stage as it is; write it, if it has not ended or if saving is due."""
        random = self.stream.get_state()
        entry = {"data": data, "ended": ended, "random": random, "work": self._meter.work}
        if wanted is not None:
            entry["wanted"] = wanted
        self._kept[self._next - 1 :] = [entry]
        if not ended or self._progress.due():
            self._progress.save(dumps(self._kept))

    def _restore(self) -> None:
        """Set randomness and work to what they were when the stage was kept."""
        entry = self._kept[self._next - 1]
        self.stream.set_state(entry["random"])
        self._meter.work = entry["work"]
