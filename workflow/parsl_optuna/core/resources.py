"""What runs may take: the limits of a trial, and what to ask a scheduler for."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from parsl_optuna.core.errors import SpecError

_GPUS = re.compile(r"(?:[A-Za-z0-9_.\-]+:)?[0-9]+")


@dataclass(frozen=True)
class LimitsSpec:
    """The block ``limits``: what a trial may take besides its budget.

    Attributes:
        grace_sec: A trial that is so much over its budget is killed; its state is ``timeout``.
        memory_gb: Memory of a trial in GiB; beyond, its state is ``out_of_memory``. Null: no limit.
        prepare_sec: Time for preparing a problem.
        checkpoint_sec: A trial that can save its progress does so this often.
        keep_checkpoint_mb: The last checkpoint of an ended trial is kept, for a longer one to continue from,
            if it is at most this large and its task allows that.
        working_folder: ``trial`` runs each trial in a folder of its own, ``files`` in its folder of the
            artifacts; ``launch`` runs all in the folder in which the command was started, where they can
            overwrite each other's files.
        keep_files: Which files in the working folder of a trial are kept when it has ended: patterns of
            paths, in which ``*`` also stands for slashes. An empty list keeps none.
        keep_files_mb: How much of them is kept per trial in MiB, smaller files first. Null: all.
    """

    grace_sec: float = 30.0
    memory_gb: float | None = None
    prepare_sec: float = 86400.0
    checkpoint_sec: float = 60.0
    keep_checkpoint_mb: float = 16.0
    working_folder: Literal["trial", "launch"] = "trial"
    keep_files: tuple[str, ...] = ("*",)
    keep_files_mb: float | None = None

    def __post_init__(self) -> None:
        if self.keep_files_mb is not None and not self.keep_files_mb >= 0:
            raise SpecError(f"keep_files_mb {self.keep_files_mb} must be at least 0")
        if not self.keep_checkpoint_mb >= 0:
            raise SpecError(f"keep_checkpoint_mb {self.keep_checkpoint_mb} must be at least 0")
        for name in ("grace_sec", "prepare_sec", "checkpoint_sec"):
            above_zero(name, getattr(self, name))
        if self.memory_gb is not None:
            above_zero("memory_gb", self.memory_gb)


@dataclass(frozen=True)
class ClusterSpec:
    """The block ``cluster``: what to ask a scheduler for. A block is one job of one or more nodes.

    Attributes:
        partition: Partition or queue.
        account: Account that is charged.
        qos: Quality of service (SLURM).
        constraint: Features that nodes must have: a SLURM constraint, or ``name=value`` in a PBS chunk.
        reservation: Name of an advance reservation.
        exclusive: Whether nodes are reserved for this study; null means yes where *cores* is null.
        walltime: Of a block, ``HH:MM:SS``.
        nodes: Per block.
        cores: Per node; null takes whole nodes.
        memory_gb: Per node, in GiB.
        memory_gb_per_core: Per core, in GiB, instead of *memory_gb* (SLURM).
        gpus: Per node, ``4``, or with their type ``a100:4`` (SLURM); every worker sees one of its own.
        workers: Per node; null is one per GPU, or else one per core.
        max_blocks: Largest number at a time.
        idle_sec: A block without work is given back after this time.
        trial_sec: A block starts no trial later than this before its walltime ends; null is the
            longest budget with its grace.
        worker_init: Shell lines before the workers start, for modules and environments.
        options: More scheduler options, such as ``--mail-user=me@example.org``, each as one word or as
            a line ``#SBATCH …`` or ``#PBS …``.
        address: Of this machine as the nodes reach it; null tries all.
        poll_sec: How often the scheduler is asked about blocks.
        heartbeat_sec: Workers that are silent for six times this time are lost.
        allocation: Whether to use the nodes of the job that the command itself runs in, and to ask for none.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    exclusive: bool | None = None
    walltime: str = "01:00:00"
    nodes: int = 1
    cores: int | None = None
    memory_gb: int | None = None
    memory_gb_per_core: int | None = None
    gpus: Any = 0
    workers: int | None = None
    max_blocks: int = 1
    idle_sec: float = 120.0
    trial_sec: float | None = None
    worker_init: str = ""
    options: tuple[str, ...] = ()
    address: str | None = None
    poll_sec: float = 30.0
    heartbeat_sec: int = 10
    allocation: bool = False

    def __post_init__(self) -> None:
        for name in ("nodes", "max_blocks", "idle_sec", "poll_sec", "heartbeat_sec"):
            above_zero(name, getattr(self, name))
        for name in ("cores", "memory_gb", "memory_gb_per_core", "workers", "trial_sec"):
            if getattr(self, name) is not None:
                above_zero(name, getattr(self, name))
        for name in ("partition", "account", "qos", "constraint", "reservation", "address"):
            value = getattr(self, name)
            if value is not None and (not value or any(letter.isspace() for letter in value)):
                raise SpecError(f"{name} {value!r} must be one word")
        for option in self.options:
            if not option.strip() or "\n" in option.strip():
                raise SpecError(f"options: {option!r} must be one option, such as --mail-user=me@example.org")
        if self.memory_gb is not None and self.memory_gb_per_core is not None:
            raise SpecError("memory_gb and memory_gb_per_core exclude each other; give one")
        if not _GPUS.fullmatch(str(self.gpus)) or isinstance(self.gpus, (bool, float)):
            raise SpecError(f"gpus {self.gpus!r} must be a number, or a type and a number such as a100:4")
        parts = self.walltime.split(":")
        if len(parts) != 3 or not all(part.isdigit() for part in parts) or not self.walltime_sec:
            raise SpecError(f"walltime '{self.walltime}' must be HH:MM:SS, in quotes")
        if self.trial_sec is not None and self.trial_sec >= self.walltime_sec:
            raise SpecError(f"trial_sec {self.trial_sec} must be below walltime {self.walltime}")

    @property
    def walltime_sec(self) -> int:
        """The walltime in seconds."""
        hours, minutes, seconds = (int(part) for part in self.walltime.split(":"))
        return 3600 * hours + 60 * minutes + seconds

    def fitting(self, longest_sec: float) -> ClusterSpec:
        """Return this for trials that may take *longest_sec*, grace included.

        Raises:
            SpecError: A block could end before a trial, which would start again in the next one for ever.
        """
        if self.trial_sec is not None:
            return self
        if longest_sec >= self.walltime_sec:
            raise SpecError(
                f"no block can end a trial: one may take {longest_sec:g} s with grace, and cluster.walltime "
                f"is {self.walltime}, {self.walltime_sec} s; raise the walltime, lower the budgets, or set "
                "cluster.trial_sec to what a trial needs of a block at most, as one with checkpoints does"
            )
        return replace(self, trial_sec=longest_sec)

    @property
    def n_gpus(self) -> int:
        """GPUs per node."""
        return int(str(self.gpus).rpartition(":")[2])

    @property
    def gpu_type(self) -> str | None:
        """Type of the GPUs; None where any will do."""
        return str(self.gpus).rpartition(":")[0] or None

    @property
    def is_exclusive(self) -> bool:
        """Whether whole nodes are asked for."""
        return self.cores is None if self.exclusive is None else self.exclusive

    @property
    def workers_per_node(self) -> int | None:
        """How many workers to start on a node; None leaves it to the cores found there."""
        return self.workers or self.n_gpus or self.cores

    @property
    def drain_sec(self) -> int | None:
        """Age at which a block starts nothing more; None without a *trial_sec*."""
        return None if self.trial_sec is None else max(int(self.walltime_sec - self.trial_sec), 1)


def above_zero(name: str, value: float) -> None:
    """Raise `SpecError` unless *value* is finite and above 0."""
    if not value > 0:
        raise SpecError(f"{name} {value} must be above 0")
    if value == math.inf:
        raise SpecError(f"{name} must be finite; give a number")
