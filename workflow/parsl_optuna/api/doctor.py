"""Checks of an installation, its folders and its workers, each with its remedy."""

from __future__ import annotations

import platform
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from parsl_optuna import __version__
from parsl_optuna.core.errors import WorkflowError
from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.execution.backend import Executor
from parsl_optuna.store.probe import probe

_PACKAGE = "parsl-optuna"
_SCHEDULERS = {"sbatch": "SLURM", "qsub": "PBS"}

_LITTLE_SPACE = 2**30
"""Checkpoints of a few hundred trials at the default limit of 16 MiB."""

_NEEDED_BY_SOME = {"torch": "estimates and the tasks llc, lvae, autoencoder and varmix need it"}
"""Packages without which functions and programs are tuned all the same."""

_POLL_SEC = 0.2


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: What was checked.
        is_ok: Whether it is as it should be.
        detail: What was found, or what to do.
    """

    name: str
    is_ok: bool
    detail: str


def installation() -> Iterator[Finding]:
    """Check Python, this package and what it needs, and name the schedulers of this machine."""
    yield Finding("Python", True, f"{platform.python_version()} on {platform.system()}")
    yield Finding("parsl-optuna", True, __version__)
    try:
        needed = metadata.requires(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        yield Finding("packages", False, "parsl-optuna is not installed here; run: pip install parsl-optuna")
        return
    for requirement in needed:
        if "extra ==" not in requirement:
            yield _package(requirement)
    found = [name for program, name in _SCHEDULERS.items() if shutil.which(program)]
    yield Finding("scheduler", True, " and ".join(found) or "none on this machine; --local needs none")


def _package(requirement: str) -> Finding:
    name = requirement.split(";", maxsplit=1)[0].split("[", maxsplit=1)[0]
    name = name[: min((name.find(mark) for mark in "<>=!~ " if mark in name), default=len(name))]
    try:
        return Finding(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        cure = f"run: pip install '{requirement}'"
        if name in _NEEDED_BY_SOME:
            return Finding(name, True, f"is not installed; {_NEEDED_BY_SOME[name]}, {cure}")
        return Finding(name, False, f"is missing; {cure}")


def folder(path: Path, cure: str) -> Finding:
    """Check that a folder can be written, keeps what is written once, and has space."""
    try:
        probe(path, cure)
    except WorkflowError as error:
        return Finding(str(path), False, str(error))
    free = shutil.disk_usage(path).free
    space = f"{free / 2**30:.0f} GiB free"
    if free < _LITTLE_SPACE:
        return Finding(str(path), False, f"only {space}; {cure}")
    return Finding(str(path), True, f"can be written, {space}")


def workers(executor: Executor, artifacts: Path, timeout_sec: float) -> Finding:
    """Start a worker and check that it sees what is in the artifacts folder.

    Args:
        executor: Where it runs; it is closed here.
        artifacts: The folder.
        timeout_sec: How long to wait for the worker.
    """
    mark = artifacts / f".doctor-{socket.gethostname()}-{time.time_ns()}"
    begun = time.monotonic()
    try:
        mark.touch()
        answer = executor.submit(seen, str(mark.absolute()))
        while not answer.done() and time.monotonic() - begun < timeout_sec:
            executor.check()
            time.sleep(_POLL_SEC)
        if not answer.done():
            status = executor.status()
            state = f"; {status.text}" if status is not None else ""
            return Finding("worker", False, f"none answered within {timeout_sec:g} s{state}")
        host, python, is_seen = answer.result()
    except (WorkflowError, OSError) as error:
        return Finding("worker", False, str(error))
    finally:
        executor.close()
        mark.unlink(missing_ok=True)
    if not is_seen:
        return Finding("worker", False, f"{host} does not see {artifacts.absolute()}; choose a shared folder")
    return Finding(
        "worker",
        True,
        f"on {host}, Python {python}, after {time.monotonic() - begun:.1f} s; sees the artifacts",
    )


def seen(mark: str) -> tuple[str, str, bool]:
    """Return host, version of Python, and whether a file is there; runs on a worker."""
    return socket.gethostname(), platform.python_version(), Path(mark).exists()


def parsl_executor(name: str, cluster: ClusterSpec, results: Path) -> Executor:
    """Return the executor of a Parsl configuration, by name or file.

    Raises:
        SpecError: The file is missing or defines no configuration.
    """
    from parsl_optuna.execution import apps, configs  # noqa: PLC0415  Parsl takes half a second

    run_dir = results.absolute() / "runinfo"
    return apps.ParslExecutor(configs.ConfigSource(name, cluster, run_dir), run_dir=run_dir)
