"""How many blocks to hold: asks for what the queued work can use, and gives back what has nothing to do."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from parsl_optuna.core.errors import ExecutorError
from parsl_optuna.execution import script
from parsl_optuna.execution.backend import BackendStatus, Block, Phase
from parsl_optuna.execution.blocks import Blocks, Held
from parsl_optuna.store.events import EventLog

_MOST_UNSERVED = 3
"""So many blocks in a row may end before their workers registered, for reasons of the scheduler's."""

_MOST_FAULTS = 20
"""So many looks in a row may fail, some ten seconds: Parsl notes each in its log, and goes on for ever."""

_LAST_OWN_STATUS = 128
"""Exit statuses above tell of a signal: somebody ended the block."""

_REFUSED_SEC = 60.0
"""A further block that is refused, for a limit of jobs per user say, is asked for again after this time."""


_GONE_SEC = 60.0
"""A block whose workers have all been gone for so long will not have them again: its job would have ended."""

_MUTE_SEC = 600.0
"""A block that runs and whose workers have not registered by then is replaced: they wait for an answer
without end. Imports from a busy file system take minutes, not ten.
"""


@dataclass(frozen=True)
class Use:
    """How a block is used.

    Attributes:
        workers: How many workers it has, or will have.
        tasks: How many tasks they hold.
        idle_sec: For how long they had none, 0 before they registered; of a queued block, for how long the
            others were enough.
        draining: Whether it takes no more tasks.
        queued: Whether the scheduler has not started it.
    """

    workers: int
    tasks: int = 0
    idle_sec: float = 0.0
    draining: bool = False
    queued: bool = False


@dataclass(frozen=True)
class Decision:
    """What to do: ask for so many more blocks, and give these back."""

    ask: int = 0
    give_back: tuple[str, ...] = ()


def decide(
    outstanding: int, blocks: Mapping[str, Use], new_workers: int, max_blocks: int, idle_sec: float
) -> Decision:
    """Decide how many blocks to hold.

    Args:
        outstanding: Tasks that are queued or running.
        blocks: All that are queued or running, by job id.
        new_workers: How many workers one more block would have.
        max_blocks: At most so many at a time.
        idle_sec: A block without work is given back after this time.
    """
    useful = sum(use.workers for use in blocks.values() if not use.draining)
    # What a draining block holds, no other one needs to run.
    open_tasks = outstanding - sum(use.tasks for use in blocks.values() if use.draining)
    if open_tasks > useful:
        wanted = math.ceil((open_tasks - useful) / max(new_workers, 1))
        return Decision(ask=max(min(wanted, max_blocks - len(blocks)), 0))
    spare, given = useful - open_tasks, []
    # Those that have not started first, then those that were idle longest.
    order = sorted(blocks.items(), key=lambda entry: (not entry[1].queued, -entry[1].idle_sec))
    for job_id, use in order:
        is_idle = use.tasks == 0 and use.idle_sec > idle_sec
        if is_idle and not use.draining and spare >= use.workers:
            spare -= use.workers
            given.append(job_id)
    return Decision(give_back=tuple(given))


class Scaling:
    """Looks after the blocks of one executor; Parsl calls it about twice a second as its error handler.

    Args:
        blocks: The blocks.

    Attributes:
        blocks: The blocks.
        status: What was last seen.
        failure: Why the command has to end.
    """

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.status = BackendStatus()
        self.failure: ExecutorError | None = None
        self.draining = False
        self._seen: dict[str, int] = {}
        self._served_at: dict[str, float] = {}
        self._checked: set[str] = set()
        self._unserved, self._short_at = 0, time.monotonic()
        self._faults = 0
        self._refused_until, self._refusal = 0.0, ""

    def __call__(self, executor: Any, status: Mapping[str, Any]) -> None:
        """Look at the blocks, ask for more or give some back."""
        if self.failure is not None or self.blocks.closed:
            return
        try:
            self._look(executor)
            self._faults = 0
        except ExecutorError as error:
            self.failure = error
        except Exception as error:
            self._faults += 1
            if self._faults > _MOST_FAULTS and not self.blocks.closed:
                self.failure = ExecutorError(
                    f"blocks cannot be looked after with Parsl {version('parsl')}: "
                    f"{type(error).__name__}: {error}"
                )
            raise

    def begin(self, job_name: str, events: EventLog, *, is_first: bool) -> None:
        """Take up work for the results that *job_name* stands for.

        Args:
            job_name: Name of all their jobs.
            events: Where blocks are recorded.
            is_first: Whether jobs of that name can only be those of a dead driver.
        """
        self.blocks.job_name, self.blocks.events = job_name, events
        if is_first:
            self.blocks.cancel_left_over()

    def close(self) -> None:
        """Give all blocks back and ask for none."""
        self.blocks.close()

    def drain(self) -> None:
        """Ask for no more blocks, and give back those that have not started."""
        self.draining = True
        self.blocks.cancel_queued()

    def _look(self, executor: Any) -> None:
        managers = executor.connected_managers()
        names = {job_id: block for block, job_id in executor.blocks_to_job_id.items()}
        self._note_ends(executor, names)
        self._give_back_deserted(managers, names)
        self._give_back_mute(names)
        uses = {
            job_id: self._use(held, [one for one in managers if one["block_id"] == names.get(job_id)])
            for job_id, held in self.blocks.living().items()
        }
        outstanding = executor.outstanding()
        if outstanding > sum(use.workers for use in uses.values() if not use.queued):
            self._short_at = time.monotonic()
        self._tell(outstanding, managers, names, uses)
        self._scale(executor, outstanding, uses)

    def _scale(self, executor: Any, outstanding: int, uses: Mapping[str, Use]) -> None:
        cluster = self.blocks.cluster
        decision = decide(outstanding, uses, self._workers_of_new(), cluster.max_blocks, cluster.idle_sec)
        if not self.draining:
            for _ in range(decision.ask):
                if time.monotonic() < self._refused_until:
                    break
                if executor.scale_out_facade(1):
                    continue
                # Parsl keeps what the scheduler said as the state of a block that never was.
                self._refusal = _refusal(executor)
                if not uses:
                    raise ExecutorError(self._refusal)
                self._refused_until = time.monotonic() + _REFUSED_SEC
        if decision.give_back:
            self.blocks.cancel(list(decision.give_back))

    def _give_back_deserted(self, managers: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> None:
        """Give back the blocks that run but whose workers are gone: they count as workers to come."""
        now, served = time.monotonic(), {one["block_id"] for one in managers}
        for job_id, held in self.blocks.living().items():
            if job_id not in self._seen or held.job.phase is not Phase.RUNNING or names.get(job_id) in served:
                self._served_at[job_id] = now
            elif now - self._served_at.get(job_id, now) > _GONE_SEC:
                self.blocks.cancel([job_id], "its workers are gone")

    def _give_back_mute(self, names: Mapping[str, str]) -> None:
        """Give back the blocks that run but whose workers have never registered; end after some in a row."""
        for job_id, held in self.blocks.living().items():
            is_new = job_id in names and job_id not in self._seen and held.job.phase is Phase.RUNNING
            if not is_new or self.blocks.age(held) <= _MUTE_SEC:
                continue
            self._unserved += 1
            why = f"its workers have not registered in {_MUTE_SEC:.0f} s"
            if self._unserved >= _MOST_UNSERVED:
                raise ExecutorError(
                    f"job {job_id}: {why}, as those of {self._unserved - 1} blocks before; can its node "
                    f"reach this host? See {held.files.output}; the same command goes on from here"
                )
            self.blocks.cancel([job_id], why)

    def _workers_of_new(self) -> int:
        """Return how many workers one more block will have: as the largest one had, or as were asked for."""
        cluster = self.blocks.cluster
        asked = (cluster.workers_per_node or 1) * cluster.nodes
        return max(self._seen.values(), default=asked)

    def _use(self, held: Held, managers: Sequence[Mapping[str, Any]]) -> Use:
        workers = sum(one["worker_count"] for one in managers)
        if not managers:
            is_queued = held.job.phase is Phase.QUEUED
            spare_sec = time.monotonic() - self._short_at if is_queued else 0.0
            return Use(self._workers_of_new(), idle_sec=spare_sec, queued=is_queued)
        self._seen[held.job_id] = max(workers, self._seen.get(held.job_id, 0))
        idle_sec = min(one["idle_duration"] for one in managers)
        is_draining = any(one.get("draining") for one in managers)
        return Use(workers, sum(one["tasks"] for one in managers), idle_sec, is_draining)

    def _note_ends(self, executor: Any, names: Mapping[str, str]) -> None:
        """End the command where blocks end before they do anything."""
        for job_id, held in list(self.blocks.held.items()):
            if held.job.phase is not Phase.ENDED and held.job.never:
                raise ExecutorError(f"job {job_id} can never start: {held.job.reason}; {held.job.advice}")
            if held.job.phase is not Phase.ENDED or job_id in self._checked or held.returned:
                continue
            self._checked.add(job_id)
            if job_id in self._seen or names.get(job_id) in executor.connected_blocks():
                self._unserved = 0
                continue
            self._unserved += 1
            by_itself = held.status is not None and held.status <= _LAST_OWN_STATUS
            if by_itself or self._unserved >= _MOST_UNSERVED:
                raise ExecutorError(_epitaph(held))

    def _tell(
        self,
        outstanding: int,
        managers: Sequence[Mapping[str, Any]],
        names: Mapping[str, str],
        uses: Mapping[str, Use],
    ) -> None:
        running = min(sum(min(one["tasks"], one["worker_count"]) for one in managers), outstanding)
        blocks, notes = [], []
        for job_id, held in self.blocks.living().items():
            registered = sum(one["worker_count"] for one in managers if one["block_id"] == names.get(job_id))
            for_sec = self.blocks.age(held)
            block = names.get(job_id, "?")
            blocks.append(Block(block, job_id, held.job.phase, for_sec, held.job.reason, registered))
            if held.job.advice:
                notes.append(f"job {job_id} does not start: {held.job.reason}; {held.job.advice}")
        if time.monotonic() < self._refused_until:
            notes.append(f"no further block for now: {self._refusal}")
        self.status = BackendStatus(
            running, outstanding - running, tuple(blocks), tuple(dict.fromkeys(notes))
        )


def _refusal(executor: Any) -> str:
    """Return why the last block was not granted."""
    last = max(executor.status_facade, key=int)
    text = executor.status_facade[last].message or "the scheduler refuses a block"
    return text.partition(f"Failed to start block {last}: ")[2] or text


def _epitaph(held: Held) -> str:
    """Say how a block ended before its workers registered, with the end of what it printed."""
    if held.status == script.UNSEEN:
        return (
            f"job {held.job_id}: its node does not see {held.files.folder}, or the folder where this command "
            "was started; both must be on a file system that all nodes share"
        )
    lines = script.ending(held.files.output)
    said = f"; {held.files.output} ends with" if lines else f"; {held.files.output} is empty"
    how = f"exit status {held.status}" if held.status is not None else held.job.reason or "no reason is known"
    return "\n".join(
        [f"workers cannot be started: job {held.job_id} ended at its start, {how}{said}", *lines]
    )
