"""A run as a sequence of stages that a later attempt can go on from.

A stage that has ended is not run again: its result is read back. The current one goes on from its last save.
Everything between stages is deterministic and is simply done again, so the same calls must come in the
same order. Knows where progress is kept only as three functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from torch import Generator, Tensor

from workflow.clock import Deadline
from workflow.kernels import chain
from workflow.kernels.adapt import HasPosition, Plan, StepRule, WarmedUp, warm_up
from workflow.kernels.snapshot import dumps, loads, rebuild
from workflow.kernels.types import Kernel

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


class Meter(Protocol):
    """What counts the work of a run."""

    work: float


class _UntilDue(NamedTuple):
    """Expires when the deadline does, or when saving is due."""

    deadline: Deadline
    progress: Progress

    @property
    def expired(self) -> bool:
        return self.deadline.expired or self.progress.due()


class Stages:
    """Runs stages, and keeps them.

    Args:
        progress: Where they are kept.
        stream: The run's only source of randomness.
        meter: Its work, kept with the stages.
    """

    def __init__(self, progress: Progress, stream: Generator, meter: Meter) -> None:
        self.stream = stream
        self._progress, self._meter = progress, meter
        content = progress.load()
        self._kept: list[Any] = loads(content) if content is not None else []
        self._next = 0

    def warm_up(
        self,
        make: Callable[[float, Tensor], Kernel[P]],
        rule: StepRule,
        plan: Plan,
        position: Tensor,
        deadline: Deadline,
    ) -> WarmedUp[P]:
        """Run `adapt.warm_up` as one stage."""
        data = self._open()
        if data is None:
            warm = warm_up(make, rule, plan, position, self.stream, deadline)
            self._keep(list(warm), ended=True)
            return warm
        like = make(plan.step_size, plan.variances).init(position, self.stream)
        self._restore()
        state, *rest = data["data"]
        return WarmedUp(rebuild(like, state), *rest)

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
            if kept["ended"]:
                return state, trace
        while True:
            until = _UntilDue(deadline, self._progress)
            done = 0 if trace is None else trace.n_steps
            rest = chain.Schedule(schedule.n_steps, schedule.every, done)
            state, more = chain.run(kernel, state, self.stream, rest, observe, until)
            trace = more if trace is None else chain.extend(trace, more)
            if trace.n_steps >= schedule.n_steps or deadline.expired:
                trace = trace._replace(truncated=trace.n_steps < schedule.n_steps)
                self._keep([state, trace], ended=True)
                return state, trace
            self._keep([state, trace], ended=False)

    def loop(self, step: Callable[[S], S], state: S, n_steps: int, deadline: Deadline) -> tuple[S, int]:
        """Call *step* up to *n_steps* times as one stage; also return how many times it was called."""
        kept, done = self._open(), 0
        if kept is not None:
            saved, done = kept["data"]
            state = rebuild(state, saved)
            self._restore()
            if kept["ended"]:
                return state, done
        while done < n_steps:
            state, done = step(state), done + 1
            if deadline.expired:
                break
            if self._progress.due():
                self._keep([state, done], ended=False)
        self._keep([state, done], ended=True)
        return state, done

    def _open(self) -> Any:
        """Begin the next stage; return what is kept of it."""
        self._next += 1
        return self._kept[self._next - 1] if self._next <= len(self._kept) else None

    def _keep(self, data: Any, *, ended: bool) -> None:
        """Keep the stage as it is; write it, if it has not ended or if saving is due."""
        random = self.stream.get_state()
        entry = {"data": data, "ended": ended, "random": random, "work": self._meter.work}
        self._kept[self._next - 1 :] = [entry]
        if not ended or self._progress.due():
            self._progress.save(dumps(self._kept))

    def _restore(self) -> None:
        """Set randomness and work to what they were when the stage was kept."""
        entry = self._kept[self._next - 1]
        self.stream.set_state(entry["random"])
        self._meter.work = entry["work"]
