"""A command as a small job, which submits itself again before its walltime until the command is done."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.execution import lifetime, script
from parsl_optuna.execution.pbs import Pbs
from parsl_optuna.execution.scheduler import Scheduler
from parsl_optuna.execution.slurm import Slurm

SCHEDULERS: dict[str, type[Slurm] | type[Pbs]] = {"slurm": Slurm, "pbs": Pbs}
_SUBMIT = {"slurm": "sbatch --parsable", "pbs": "qsub"}

_LEAVE_SEC = 40
"""Before its walltime a driver that still waits for trials is told to leave, and gives back its blocks."""


def submit(
    name: str, cluster: ClusterSpec, stop_sec: int, words: Sequence[str], folder: Path
) -> tuple[str, Path]:
    """Submit a command of this program as a job.

    Args:
        name: ``slurm`` or ``pbs``.
        cluster: What to ask for the driver.
        stop_sec: So long before its walltime it starts nothing more.
        words: The command, without the program's name.
        folder: Where the script and its output go.

    Returns:
        The job's id, and where its output goes.

    Raises:
        SpecError: The scheduler cannot be asked for this.
        ExecutorError: It refuses the job.
    """
    scheduler: Scheduler = SCHEDULERS[name]()
    scheduler.check(cluster)
    if not _LEAVE_SEC <= stop_sec < cluster.walltime_sec:
        raise SpecError(
            f"--stop {stop_sec} must be from {_LEAVE_SEC} to the walltime of {cluster.walltime_sec} s"
        )
    files = script.Files(folder.absolute(), f"driver-{time.time_ns()}")
    files.folder.mkdir(parents=True, exist_ok=True)
    lines = _lines(scheduler.head(cluster, files.name[:15]), files, cluster, stop_sec, words, _SUBMIT[name])
    files.job.write_bytes(os.fsencode("\n".join(lines) + "\n"))
    return scheduler.submit(files.job), files.output


def _lines(
    head: Sequence[str],
    files: script.Files,
    cluster: ClusterSpec,
    stop_sec: int,
    words: Sequence[str],
    submit: str,
) -> list[str]:
    launch, output, job = (shlex.quote(str(path)) for path in (Path.cwd(), files.output, files.job))
    command = " ".join(map(shlex.quote, [sys.executable, "-P", "-m", "parsl_optuna", *words]))
    programs, modules = shlex.quote(str(Path(sys.executable).parent)), os.environ.get("PYTHONPATH")
    return [
        "#!/bin/bash",
        *head,
        f"cd {launch} || exit {script.UNSEEN}",
        f"exec </dev/null >>{output} 2>&1",
        f'export PATH={programs}:"$PATH"',
        *([f"export PYTHONPATH={shlex.quote(modules)}"] if modules else []),
        cluster.worker_init,
        f"export {lifetime.STOP_AT}=$(($(date +%s) + {cluster.walltime_sec - stop_sec}))",
        f"{command} &",
        "driver=$!",
        "trap 'kill -TERM $driver' TERM",  # cancelled: the driver gives back its blocks
        f"(sleep {cluster.walltime_sec - _LEAVE_SEC}; kill -USR1 $$) &",
        "alarm=$!",
        "late=0",
        "trap 'late=1; kill -TERM $driver' USR1",
        "wait $driver; status=$?",
        "while kill -0 $driver 2>/dev/null; do wait $driver; status=$?; done",  # a trap ends a wait
        "kill $alarm 2>/dev/null",
        f"if [ $status = {lifetime.AGAIN} ] || [ $late = 1 ]; then {submit} {job}; fi",
        "exit $status",
    ]
