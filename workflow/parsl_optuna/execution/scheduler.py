"""What blocks need of a batch system: submit a script, ask about jobs, cancel them, find them by name."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from parsl_optuna.core.errors import ExecutorError, SpecError
from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.execution.backend import Phase

_ANSWER_SEC = 60.0
"""A scheduler that does not answer within this time is asked again later; busy ones take half of it."""


@dataclass(frozen=True)
class Job:
    """What a scheduler says of a job.

    Attributes:
        phase: Queued, running or ended.
        reason: Why it waits, or how it ended, in the scheduler's words.
        advice: What to change, where it cannot start as things are.
        never: Whether it will not start, however long one waits.
    """

    phase: Phase
    reason: str | None = None
    advice: str | None = None
    never: bool = False


@dataclass(frozen=True)
class Around:
    """The job that a process runs in.

    Attributes:
        job_id: Its id.
        nodes: How many nodes it has.
        left_sec: How long it still runs; None where that is not limited.
    """

    job_id: str
    nodes: int
    left_sec: int | None


class Silent(Exception):
    """The scheduler did not answer: nothing is known of any job."""


class Scheduler(Protocol):
    """One batch system. A job that it does not know has ended.

    Attributes:
        name: Its name.
    """

    name: str

    def check(self, cluster: ClusterSpec) -> None:
        """Raise `SpecError` for what it cannot be asked for."""
        ...

    def head(self, cluster: ClusterSpec, job_name: str) -> list[str]:
        """Return the lines at the top of a job script."""
        ...

    def spread(self, cluster: ClusterSpec, script: Path) -> str:
        """Return the shell line that runs *script* once on every node of a block."""
        ...

    def submit(self, script: Path) -> str:
        """Submit a job script; return the id of the job.

        Raises:
            ExecutorError: The scheduler refuses it, with its words.
        """
        ...

    def ask(self, job_ids: Sequence[str]) -> Mapping[str, Job]:
        """Return what is known of these jobs; those that are left out have ended.

        Raises:
            Silent: The scheduler does not answer.
        """
        ...

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs, queued or running; those that have ended do not matter."""
        ...

    def named(self, job_name: str) -> list[str]:
        """Return the ids of this user's jobs of that name that have not ended."""
        ...

    def around(self) -> Around:
        """Return the job that this process runs in.

        Raises:
            SpecError: There is none.
        """
        ...


def call(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program of a scheduler.

    Raises:
        ExecutorError: It is not there.
        Silent: It does not end in time.
    """
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_ANSWER_SEC,
            process_group=0,  # Ctrl-C is for the driver: a submission must not end half-way
        )
    except FileNotFoundError:
        raise ExecutorError(
            f"{command[0]}: no such program here; run the command on a login node of the cluster"
        ) from None
    except subprocess.TimeoutExpired:
        raise Silent(f"{command[0]} gave no answer within {_ANSWER_SEC:g} s") from None


def words_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a program said, in one line."""
    return " ".join((done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").split())


def option_lines(cluster: ClusterSpec, mark: str) -> list[str]:
    """Return ``cluster.options`` as lines of a job script that begin with *mark*."""
    lines = []
    for option in map(str.strip, cluster.options):
        if option.startswith("-"):
            lines.append(f"{mark} {option}")
        elif option.split()[0] == mark:
            lines.append(option)
        else:
            raise SpecError(f"cluster.options: {option!r} must begin with '-' or with '{mark}'")
    return lines
