"""Designs that take a solver: made by all cores, and kept in chunks until the set is whole.

Preparing is killed with its node like anything else; the next attempt finds the chunks that were done.

``python -m parsl_optuna.tasks.lvae.solved FOLDER FIRST STEP`` makes every STEP-th chunk from FIRST on.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsl_optuna.core.errors import TaskError
from parsl_optuna.store.atomic import write_bytes
from parsl_optuna.tasks.lvae import simp

Array = NDArray[np.float64]

_CHUNK = 8
"""Designs that are made between two writes; some seconds of work at full resolution."""

_WORTH_PROCESSES = 2000
"""Designs times pixels of a side: less is made sooner than an interpreter starts."""

SOLVERS: Mapping[str, tuple[Callable[[Array, int], Array], int]] = {
    "beams2d": (simp.beams, 3),
    "heatconduction2d": (simp.heat_sinks, 2),
}
"""Name -> solver and number of its parameters."""


def designs(name: str, parameters: Array, side: int, scratch: Path) -> Array:
    """Return solved designs ``(n, side, side)``.

    Args:
        name: Of a solver.
        parameters: ``(n, dim)`` in [0, 1].
        side: Pixels per side.
        scratch: Folder in which a folder of chunks is kept until all are there.

    Raises:
        TaskError: A process that made chunks failed.
    """
    text = json.dumps({"name": name, "side": side, "parameters": parameters.tolist()})
    folder = scratch / f".making-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    chunks = range(-(-len(parameters) // _CHUNK))
    missing = sum(not _path(folder, chunk).exists() for chunk in chunks)
    count = min(_cores(), missing)
    if count > 1 and missing * _CHUNK * side > _WORTH_PROCESSES:
        write_bytes(folder / "asked.json", text.encode(), durable=False)
        _in_processes(folder, count)
    found = np.concatenate([_chunk(folder, name, parameters, side, chunk) for chunk in chunks])
    shutil.rmtree(folder, ignore_errors=True)
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunk(folder: Path, name: str, parameters: Array, side: int, chunk: int) -> Array:
    """Return a chunk, made unless it is there; another builder may take the folder away at any time."""
    path = _path(folder, chunk)
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError):  # not there, or lost with the power
        pass
    made = SOLVERS[name][0](parameters[chunk * _CHUNK : (chunk + 1) * _CHUNK], side)
    stream = io.BytesIO()
    np.save(stream, made, allow_pickle=False)
    write_bytes(path, stream.getvalue(), durable=False)
    return made


def _path(folder: Path, chunk: int) -> Path:
    return folder / f"chunk-{chunk:05d}.npy"


def _share(folder: Path, first: int, step: int) -> None:
    """Make every *step*-th chunk from *first* on."""
    asked = json.loads((folder / "asked.json").read_text())
    parameters = np.asarray(asked["parameters"])
    for chunk in range(first, -(-len(parameters) // _CHUNK), step):
        _chunk(folder, asked["name"], parameters, asked["side"], chunk)


def _in_processes(folder: Path, count: int) -> None:
    package = Path(__file__).resolve().parents[3]
    paths = [str(package), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    words = [sys.executable, "-m", __name__, str(folder)]
    quiet: dict[str, Any] = {
        "env": environment,
        "stdin": subprocess.DEVNULL,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    processes = [subprocess.Popen([*words, str(first), str(count)], **quiet) for first in range(count)]
    try:
        said = [str(one.communicate()[1] or "").strip() for one in processes]
    finally:
        for process in processes:
            process.kill()
    for process, text in zip(processes, said, strict=True):
        if process.returncode:
            raise TaskError(f"designs could not be solved: exit status {process.returncode}: {text[-500:]}")


if __name__ == "__main__":
    _share(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
