"""Blocks that are processes of this machine: those of ``--local``, and those in a job that people hold."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from parsl_optuna.core.errors import ExecutorError, SpecError
from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.execution.backend import Phase
from parsl_optuna.execution.scheduler import Around, Job, Scheduler

_FAREWELL_SEC = 2.0
"""A pool that is told to end does so at once; it is killed after this time."""


class Processes:
    """Runs job scripts as processes in sessions of their own, which Ctrl-C in a terminal does not reach.

    Args:
        around: The scheduler of the job that this process runs in; None uses this machine alone.
    """

    name = "local"

    def __init__(self, around: Scheduler | None = None) -> None:
        self._around = around
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def check(self, cluster: ClusterSpec) -> None:
        """Accept everything: nothing is asked of a scheduler."""

    def head(self, cluster: ClusterSpec, job_name: str) -> list[str]:
        """Return no lines."""
        return []

    def spread(self, cluster: ClusterSpec, script: Path) -> str:
        """Return the shell line that runs *script*, on every node of the job around it."""
        return (
            f"bash {shlex.quote(str(script))}"
            if self._around is None
            else self._around.spread(cluster, script)
        )

    def submit(self, script: Path) -> str:
        """Start a job script; return its process id."""
        try:
            process = subprocess.Popen(
                ["bash", script],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise ExecutorError(f"bash cannot be started: {error.strerror}") from error
        # The kernel gives a number anew after a while; an id never means two processes.
        job_id = str(process.pid)
        while job_id in self._processes:
            job_id += "+"
        self._processes[job_id] = process
        return job_id

    def ask(self, job_ids: Sequence[str]) -> Mapping[str, Job]:
        """Return what is known of these processes."""
        return {job_id: self._job(self._processes[job_id]) for job_id in job_ids}

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End processes with their sessions."""
        processes = [self._processes[job_id] for job_id in job_ids]
        for process in processes:
            _signal(process, signal.SIGTERM)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_FAREWELL_SEC)
            _signal(process, signal.SIGKILL)
            process.wait()

    def named(self, job_name: str) -> list[str]:
        """Return nothing: they end with what they serve."""
        return []

    def around(self) -> Around:
        """Return the job that this process runs in."""
        if self._around is None:
            raise SpecError("cluster.allocation: use it with --parsl-config slurm or pbs, in a job of theirs")
        return self._around.around()

    def _job(self, process: subprocess.Popen[bytes]) -> Job:
        status = process.poll()
        if status is None:
            return Job(Phase.RUNNING)
        return Job(Phase.ENDED, f"exit status {status}" if status >= 0 else f"killed by signal {-status}")


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal the whole session; its leader has its id, which is not given anew while members live."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
