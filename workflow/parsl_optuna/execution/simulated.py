"""The backend that runs nothing: workers, queue and clock are numbers, so that hours pass in seconds."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from parsl_optuna.core.records import Request
from parsl_optuna.execution.backend import BackendStatus
from parsl_optuna.worker import supervise


class SimulatedTrial(NamedTuple):
    """What a trial would come to: how long it takes, and its outcome as plain data."""

    seconds: float
    outcome: dict[str, Any]


@dataclass(frozen=True)
class Usage:
    """How well workers were used.

    Attributes:
        makespan_sec: From the start to the end of the last trial.
        busy_sec: Time of all workers at work.
        last_start_sec: When the last trial began; from then on, workers run out of work.
        busy_before_sec: Time of all workers at work before that.
    """

    makespan_sec: float
    busy_sec: float
    last_start_sec: float
    busy_before_sec: float


class _Work(NamedTuple):
    """What one worker does at a stretch."""

    future: Future[Any]
    seconds: float
    result: dict[str, Any]


class SimulatedExecutor:
    """Workers that take the most urgent of what is queued, on a clock that jumps from event to event.

    Args:
        workers: How many.
        simulate: Says what comes of a trial.
        dispatch_sec: Says what the driver needs for a trial, doing nothing else meanwhile; None: nothing.
    """

    isolates = True

    def __init__(
        self,
        workers: int,
        simulate: Callable[[Request], SimulatedTrial],
        dispatch_sec: Callable[[Request], float] | None = None,
    ) -> None:
        self._idle = workers
        self._simulate, self._dispatch_sec = simulate, dispatch_sec
        self._numbers = count()
        self._queue: list[tuple[float, int, _Work]] = []
        self._running: list[tuple[float, int, _Work]] = []
        self._ended: list[_Work] = []
        self._spans: list[tuple[float, float]] = []
        self._clock = 0.0

    def now(self) -> float:
        """Return the time in seconds since the start."""
        return self._clock

    def submit(self, function: Callable[..., Any], *args: Any, urgency: float = 0.0) -> Future[Any]:
        """Queue the trial of a call of `supervise.run` as work for one worker."""
        future: Future[Any] = Future()
        if function is not supervise.run:  # a problem's data: not a matter of workers
            future.set_result(None)
            return future
        request: Request = args[0]
        if self._dispatch_sec is not None:
            self._clock += self._dispatch_sec(request)
            self._pass_time()
        work = _Work(future, *self._simulate(request))
        heapq.heappush(self._queue, (-urgency, next(self._numbers), work))
        self._begin(self._clock)
        return future

    def check(self) -> None:
        """Let the next trial end, and those that ended while the driver was busy."""
        if self._running and not self._ended:
            self._clock = max(self._clock, self._running[0][0])
        self._pass_time()
        ended, self._ended = self._ended, []
        for work in ended:
            work.future.set_result(work.result)

    def status(self) -> BackendStatus | None:
        """Return None: nobody looks."""
        return None

    def replace(self, future: Future[Any]) -> None:
        """Do nothing: nothing is late."""

    def drain(self) -> None:
        """Do nothing: nobody interrupts it."""

    def close(self) -> None:
        """Do nothing."""

    def usage(self) -> Usage:
        """Return how well the workers were used so far."""
        last = max((begin for begin, _ in self._spans), default=0.0)
        return Usage(
            max((end for _, end in self._spans), default=0.0),
            sum(end - begin for begin, end in self._spans),
            last,
            sum(max(min(end, last) - begin, 0.0) for begin, end in self._spans),
        )

    def _pass_time(self) -> None:
        """Let everything end that ends by now; a worker that is free takes what is queued at once."""
        while self._running and self._running[0][0] <= self._clock:
            end, _, work = heapq.heappop(self._running)
            self._ended.append(work)
            self._idle += 1
            self._begin(end)

    def _begin(self, now: float) -> None:
        while self._idle and self._queue:
            _, number, work = heapq.heappop(self._queue)
            self._idle -= 1
            self._spans.append((now, now + work.seconds))
            heapq.heappush(self._running, (now + work.seconds, number, work))
