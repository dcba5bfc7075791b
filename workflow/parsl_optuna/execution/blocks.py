"""The blocks of a run: asked of a scheduler for Parsl, watched, given back; never more than were allowed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parsl.jobs.states import JobState, JobStatus
from parsl.providers.base import ExecutionProvider

from parsl_optuna.core.counted import counted
from parsl_optuna.core.errors import ExecutorError
from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.execution import script
from parsl_optuna.execution.backend import Phase
from parsl_optuna.execution.scheduler import Job, Scheduler, Silent
from parsl_optuna.store.events import EventLog, Kind

_FIRST_ASK_SEC = 2.0
"""When a scheduler is first asked about a new job: most start, or tell why not, in their first seconds."""

_STATES = {
    Phase.QUEUED: JobState.PENDING,
    Phase.RUNNING: JobState.RUNNING,
    Phase.ENDED: JobState.COMPLETED,
}


@dataclass
class Held:
    """What is known of a block.

    Attributes:
        job_id: The scheduler's id.
        files: Its scripts and its output.
        job: What the scheduler said last.
        since: Monotonic time at which its phase began.
        asked_at: Monotonic time at which the scheduler was last asked about it.
        returned: Whether this driver cancelled it.
        status: The exit status that its script left.
    """

    job_id: str
    files: script.Files
    job: Job
    since: float
    asked_at: float
    returned: bool = False
    status: int | None = None


class Blocks(ExecutionProvider):
    """Parsl's way to a scheduler.

    Args:
        scheduler: Which one.
        cluster: What to ask for.
        label: Of the executor, which names its folder.
        by_name: Whether workers run the first ``python3`` on their path rather than the driver's own.
        now: Monotonic clock.

    Attributes:
        job_name: Name of all jobs of these results, by which a later driver finds those of a dead one.
        events: Where blocks are recorded.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        cluster: ClusterSpec,
        label: str,
        *,
        by_name: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scheduler, self.cluster = scheduler, cluster
        self._label, self._by_name, self._now = label, by_name, now
        self.job_name, self.events = "parsl-optuna", EventLog()
        self.nodes_per_block, self.max_blocks = cluster.nodes, cluster.max_blocks
        self.init_blocks = self.min_blocks = 0  # `scaling` asks for blocks, not Parsl
        self.parallelism, self.cores_per_node, self.mem_per_node = 1.0, None, None
        self.script_dir: str | None = None
        self.resources: dict[Any, Any] = {}
        self.held: dict[str, Held] = {}
        self.closed = False
        self._lock = threading.RLock()

    @property
    def label(self) -> str:
        """The executor's."""
        return self._label

    @property
    def status_polling_interval(self) -> float:  # type: ignore[override]
        """How often Parsl asks this object in seconds; the scheduler is asked less often."""
        return 0.5

    def living(self) -> dict[str, Held]:
        """Return blocks that are queued or running, by job id."""
        return {job_id: held for job_id, held in self.held.items() if held.job.phase is not Phase.ENDED}

    def age(self, held: Held) -> float:
        """Return for how many seconds a block is in its phase."""
        return self._now() - held.since

    def submit(self, command: str, tasks_per_node: int, job_name: str = "block") -> str:
        """Ask for one block.

        Raises:
            ExecutorError: There are as many as allowed, this is closed, or the scheduler refuses it.
        """
        del tasks_per_node, job_name
        with self._lock:
            if self.closed or len(self.living()) >= self.max_blocks:
                raise ExecutorError(f"no more than {counted(self.max_blocks, 'block')}")
            assert self.script_dir is not None
            folder = Path(self.script_dir)
            logs = folder.parent / self._label
            files = script.Files(folder, f"block-{len(self.held)}")
            script.write(
                files,
                self.scheduler.head(self.cluster, self.job_name),
                self.scheduler.spread(self.cluster, files.pool),
                self.cluster.worker_init,
                script.variables_for(logs / "certificates", logs, by_name=self._by_name),
                command,
            )
            job_id = self.scheduler.submit(files.job)
            now = self._now()
            # Between two polls of the scheduler it is taken for queued, whatever it does.
            self.held[job_id] = Held(job_id, files, Job(Phase.QUEUED), now, now)
            self.resources[job_id] = {"job_id": job_id, "status": JobStatus(JobState.PENDING)}
            self.events.add(Kind.BLOCK_REQUESTED, block=files.name, job=job_id, scheduler=self.scheduler.name)
            return job_id

    def status(self, job_ids: Sequence[Any]) -> list[JobStatus]:
        """Return the states of jobs, asking the scheduler where that is due."""
        with self._lock:
            self._look()
            for job_id, held in self.held.items():
                state = JobState.SCALED_IN if held.returned else _STATES[held.job.phase]
                self.resources[job_id]["status"] = JobStatus(
                    state, held.job.reason, held.status, str(held.files.output)
                )
        return [self.resources[job_id]["status"] for job_id in job_ids]

    def cancel(self, job_ids: Sequence[Any], reason: str = "given back") -> list[bool]:
        """Give blocks back."""
        with self._lock:
            living = [job_id for job_id in job_ids if job_id in self.living()]
            for job_id in living:
                held = self.held[job_id]
                held.returned = True
                self._become(held, Job(Phase.ENDED, reason))
        if living:
            with contextlib.suppress(Silent, ExecutorError):  # it ends when its pool finds nobody to serve
                self.scheduler.cancel(living)
        return [True] * len(job_ids)

    def cancel_queued(self, job_ids: Iterable[str] | None = None) -> None:
        """Give back what has not started: these jobs, or all."""
        wanted = None if job_ids is None else set(job_ids)
        living = self.living().items()
        queued = [job_id for job_id, held in living if held.job.phase is Phase.QUEUED]
        self.cancel([job_id for job_id in queued if wanted is None or job_id in wanted])

    def close(self) -> None:
        """Give everything back, and ask for nothing more."""
        self.closed = True
        self.cancel(list(self.held))

    def cancel_left_over(self) -> list[str]:
        """Cancel the jobs that a dead driver of these results has left; return their ids."""
        try:
            found = [job_id for job_id in self.scheduler.named(self.job_name) if job_id not in self.held]
            if found:
                self.scheduler.cancel(found)
        except Silent:
            return []
        for job_id in found:
            self.events.add(Kind.BLOCK_RETURNED, job=job_id, reason="left by a driver that died")
        return found

    def _look(self) -> None:
        """Learn what became of blocks: from the files they leave at once, from the scheduler when due."""
        now, living = self._now(), self.living()
        for held in living.values():
            held.status = _status_in(held.files.status)
            if held.status is not None:
                self._become(held, Job(Phase.ENDED, f"exit status {held.status}"))
            elif held.job.phase is Phase.QUEUED and held.files.output.exists():
                self._become(held, Job(Phase.RUNNING))
        due = [job_id for job_id, held in self.living().items() if now - held.asked_at >= self._period(held)]
        if not due:
            return
        try:
            said = self.scheduler.ask(due)
        except Silent:
            return
        for job_id in due:
            held = self.held[job_id]
            held.asked_at = now
            held.status = _status_in(held.files.status)  # it may have ended since
            self._become(held, said.get(job_id, Job(Phase.ENDED)))

    def _period(self, held: Held) -> float:
        is_new = held.asked_at == held.since
        return min(_FIRST_ASK_SEC, self.cluster.poll_sec) if is_new else self.cluster.poll_sec

    def _become(self, held: Held, job: Job) -> None:
        former, held.job = held.job.phase, job
        if former is job.phase:
            return
        held.since = self._now()
        kinds = {
            Phase.RUNNING: Kind.BLOCK_GRANTED,
            Phase.QUEUED: Kind.BLOCK_LOST,
            Phase.ENDED: Kind.BLOCK_LOST,
        }
        kind = Kind.BLOCK_RETURNED if held.returned else kinds[job.phase]
        self.events.add(kind, block=held.files.name, job=held.job_id, reason=job.reason)


def _status_in(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
