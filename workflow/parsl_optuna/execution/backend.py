"""What the driver needs of a backend: submit a function, get a future, look after it, close."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


class Phase(StrEnum):
    """Where a block is in its life; the values are the words shown to people."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True)
class Block:
    """A block as people see it: one job of the scheduler.

    Attributes:
        block: Parsl's number of it.
        job: The scheduler's id of it.
        phase: Queued, running or ended.
        for_sec: Seconds in this phase.
        reason: Why it waits, in the words of the scheduler.
        workers: How many of its workers have registered.
    """

    block: str
    job: str
    phase: Phase
    for_sec: float
    reason: str | None = None
    workers: int = 0


@dataclass(frozen=True)
class BackendStatus:
    """What a backend is doing.

    Attributes:
        running: Submissions that are at work on a worker.
        queued: Submissions that wait for one.
        blocks: Blocks that are queued or running.
        notes: What people should know, each with its cure, such as why a job does not start.
    """

    running: int = 0
    queued: int = 0
    blocks: tuple[Block, ...] = ()
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the blocks in one line, such as ``1 block queued for 9 s (job 8: Priority)``."""
        parts = []
        for phase in (Phase.RUNNING, Phase.QUEUED):
            found = [block for block in self.blocks if block.phase is phase]
            if found:
                jobs = ", ".join(block.job + (f": {block.reason}" if block.reason else "") for block in found)
                waited = max(block.for_sec for block in found)
                since = f" for {waited:.0f} s" if phase is Phase.QUEUED else ""
                parts.append(f"{len(found)} block{'s' * (len(found) > 1)} {phase}{since} (job {jobs})")
        return ", ".join(parts)


class Executor(Protocol):
    """Runs functions somewhere. Starts nothing before the first submit.

    Attributes:
        isolates: Whether trials should run in child processes that can be killed.
    """

    isolates: bool

    def submit(self, function: Callable[..., Any], *args: Any, urgency: float = 0.0) -> Future[Any]:
        """Run ``function(*args)``; the future resolves when it returns, or when its worker is lost for good.

        Of what waits for a worker, the most urgent goes first where the backend can tell.

        The future's exception is `WorkerLost` where another try may help, `NotStarted` where it was still
        queued when the backend drained, `ExecutorError` where the backend is gone for good, else what the
        function raised.

        Raises:
            ExecutorError: The backend cannot be started.
        """
        ...

    def check(self) -> None:
        """Look after the backend; called about twice a second.

        Raises:
            ExecutorError: It is gone for good.
        """

    def status(self) -> BackendStatus | None:
        """Return what it is doing; None where nothing can be queued."""

    def replace(self, future: Future[Any]) -> None:
        """Replace the worker that holds a submission: its future then resolves with `WorkerLost`.

        For a submission that is out past its deadline. Where the worker cannot be found, its future resolves
        all the same.
        """

    def drain(self) -> None:
        """Start nothing that is still queued, and give back what has not started; what runs goes on."""

    def close(self) -> None:
        """Stop the workers; what still runs is abandoned."""
        ...
