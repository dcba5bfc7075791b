"""The shell scripts of a block: what a scheduler runs, and what every node of the block runs.

Every path in them is quoted, whatever its letters. The job's output goes where the first script sends it, as
schedulers read patterns, or names of hosts, in the names of output files.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parsl_optuna.worker.apart import LAUNCH_DIR

UNSEEN = 92
"""Exit status of a block whose node does not see the run folder, of no other meaning to a shell."""

TERMINATED = 143
"""Exit status of a block that was told to end, as shells have it; all from 129 on are ends by a signal."""

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Workers share cores by number, so each keeps to one thread."""


@dataclass(frozen=True)
class Files:
    """The files of one block.

    Attributes:
        folder: Where they are.
        name: What their names begin with.
    """

    folder: Path
    name: str

    @property
    def job(self) -> Path:
        """What the scheduler runs."""
        return self.folder / f"{self.name}.sh"

    @property
    def pool(self) -> Path:
        """What every node runs."""
        return self.folder / f"{self.name}.pool.sh"

    @property
    def output(self) -> Path:
        """What the block prints."""
        return self.folder / f"{self.name}.out"

    @property
    def status(self) -> Path:
        """The exit status that the block left with; there is none while it runs, or where it was killed."""
        return self.folder / f"{self.name}.exit"


def write(
    files: Files, head: Sequence[str], spread: str, worker_init: str, variables: Mapping[str, str], pool: str
) -> None:
    """Write the scripts of a block.

    Args:
        files: Where to.
        head: First lines of the job script.
        spread: Shell line that runs the pool script on every node.
        worker_init: Shell lines before the pool starts.
        variables: What the nodes need of the driver's environment.
        pool: Shell line that is the pool.
    """
    quoted = (shlex.quote(str(path.absolute())) for path in (files.folder, files.output, files.status))
    folder, output, status = quoted
    job = [
        "#!/bin/bash",
        *head,
        f"[ -d {folder} ] || exit {UNSEEN}",
        f"exec </dev/null >>{output} 2>&1",
        f"status={status}",
        """trap 'echo $? >"$status.tmp"; mv "$status.tmp" "$status"' EXIT""",
        f"trap 'exit {TERMINATED}' TERM",
        spread,
    ]
    launch, programs = shlex.quote(variables[LAUNCH_DIR]), str(Path(sys.executable).parent)
    node = [
        f"cd {launch} || exit {UNSEEN}",  # where programs with relative paths were written for
        "" if os.pathsep in programs else f'export PATH={shlex.quote(programs)}:"$PATH"',
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        worker_init,
        f"exec {pool}",
    ]
    files.folder.mkdir(parents=True, exist_ok=True)
    for path, lines in ((files.pool, node), (files.job, job)):
        path.write_bytes(os.fsencode("\n".join(line for line in lines if line) + "\n"))


def variables_for(cert_dir: Path, log_dir: Path, *, by_name: bool) -> dict[str, str]:
    """Return what the nodes need of this environment, and what `POOL` needs.

    Args:
        cert_dir: Keys of the connection to the interchange.
        log_dir: Where the pool keeps its log.
        by_name: Whether the pool's Python is the first ``python3`` on the path, which ``worker_init`` may
            choose, rather than the driver's own.
    """
    by_name = by_name and os.pathsep not in sys.executable
    return {
        **THREADS,
        **({"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}),
        LAUNCH_DIR: str(Path.cwd()),
        "PARSL_OPTUNA_PYTHON": "python3" if by_name else sys.executable,
        "PARSL_OPTUNA_CERTIFICATES": str(cert_dir.absolute()),
        "PARSL_OPTUNA_LOGS": str(log_dir.absolute()),
    }


PROGRAM = '"$PARSL_OPTUNA_PYTHON" -P -m parsl_optuna.execution.watched_pool'
"""The watched worker pool in a pool script. ``-P``: no folder can put its modules before Python's own."""


def pool_line(launch_cmd: str) -> str:
    """Return Parsl's launch command with our pool as its program, and paths taken from the environment."""
    _, _, arguments = launch_cmd.partition(" ")
    for name, variable in (("{cert_dir}", "CERTIFICATES"), ("{logdir}", "LOGS")):
        arguments = arguments.replace(name, f'"$PARSL_OPTUNA_{variable}"')
    return f"{PROGRAM} {arguments}"


def stock_pool_line(launch_cmd: str) -> str:
    """Return Parsl's launch command with our pool as its program, for a provider that is not ours."""
    _, _, arguments = launch_cmd.partition(" ")
    folder = shlex.quote(str(Path.cwd())).replace("{", "{{{{").replace("}", "}}}}")  # Parsl formats it twice
    return f"env {LAUNCH_DIR}={folder} python3 -P -m parsl_optuna.execution.watched_pool {arguments}"


def ending(path: Path, most_lines: int = 12, most_bytes: int = 4096) -> list[str]:
    """Return the last lines of what a block printed."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(path.stat().st_size - most_bytes, 0))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-most_lines:]
