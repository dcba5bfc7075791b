"""Parsl's configuration: ours by name, or what a Python file of the user's defines."""

from __future__ import annotations

import contextlib
import inspect
import os
import runpy
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import parsl
from parsl import Config, HighThroughputExecutor
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

from parsl_optuna.core.errors import ExecutorError, SpecError, nearest
from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.execution import lifetime, script
from parsl_optuna.execution.blocks import Blocks
from parsl_optuna.execution.pbs import Pbs
from parsl_optuna.execution.processes import Processes
from parsl_optuna.execution.scaling import Scaling
from parsl_optuna.execution.scheduler import Scheduler
from parsl_optuna.execution.slurm import Slurm

_RUN_DIR = Path("runinfo")

_SILENT_HEARTBEATS = 6
"""Heartbeats that may be missing in a row; a busy node is late by one or two."""

_EVER_SEC = 1e9
"""Longer than any run: the cores of this machine are never given back."""

_PROBE_SEC = 8
"""A pool that does not reach the driver ends after this time; within a cluster it takes milliseconds."""

_PLAIN = frozenset("/._-+=@,:") | frozenset(map(chr, range(128))) & frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
)
"""Letters that mean nothing to a shell, to Parsl's templates, or to a scheduler."""


def local_config(run_dir: Path = _RUN_DIR, workers: int | None = None) -> Config:
    """Return a configuration with one single-threaded worker process per core of this machine."""
    cluster = ClusterSpec(
        address="127.0.0.1", workers=workers or _cores(), poll_sec=0.2, heartbeat_sec=2, idle_sec=_EVER_SEC
    )
    return _config(cluster, Processes(), run_dir, "local")


def slurm_config(cluster: ClusterSpec, run_dir: Path = _RUN_DIR) -> Config:
    """Return a configuration whose blocks are SLURM jobs, or the nodes of the one around this process."""
    return _config(cluster, _scheduler(cluster, Slurm()), run_dir, "cluster")


def pbs_config(cluster: ClusterSpec, run_dir: Path = _RUN_DIR) -> Config:
    """Return a configuration whose blocks are PBS jobs, or the nodes of the one around this process."""
    return _config(cluster, _scheduler(cluster, Pbs()), run_dir, "cluster")


BY_NAME: Mapping[str, Callable[[ClusterSpec], Config]] = {
    "local": lambda cluster: local_config(workers=cluster.workers),
    "slurm": slurm_config,
    "pbs": pbs_config,
}
"""The configurations that come with the package."""


def for_trials(name: str, cluster: ClusterSpec, longest_sec: float) -> ClusterSpec:
    """Return what to ask for where trials may take *longest_sec*, grace included.

    In a job that people hold, that is its nodes, for as long as it runs; the driver then stops in time. What
    a file makes of the block ``cluster`` shows when it has run: see `ConfigSource`.

    Raises:
        SpecError: No trial would fit, or there is no such job.
    """
    if cluster.allocation and name not in _SCHEDULERS:
        raise SpecError("cluster.allocation: use it with --parsl-config slurm or pbs")
    if name not in _SCHEDULERS:
        return cluster
    if not cluster.allocation:
        return cluster.fitting(longest_sec)
    job = _SCHEDULERS[name]().around()
    left_sec = job.left_sec or _EVER_SEC
    whole = replace(
        cluster,
        nodes=job.nodes,
        max_blocks=1,
        walltime=lifetime.hms(left_sec),
        idle_sec=_EVER_SEC,
        poll_sec=1,
    ).fitting(longest_sec)
    lifetime.stop_in(left_sec - (whole.trial_sec or 0))
    return whole


class ConfigSource:
    """Gives new configurations, all alike: of a name, or of a Python file.

    The file is run once, at once, and again only where a configuration is needed anew, as Parsl uses each but
    once; a function that it defines is called instead.

    Args:
        name: ``local``, ``slurm``, ``pbs``, or the path of a file.
        cluster: What to ask the scheduler for.
        run_dir: Where Parsl keeps its files, for our own configurations.
        label: Of the executor that is to run trials; see `choose`.
        longest_sec: How long a trial may take, for files that take the block ``cluster``.

    Raises:
        SpecError: The file is missing, does not run, or defines no configuration, or no such executor; or no
            trial fits into the walltime that it is given.
    """

    def __init__(
        self,
        name: str,
        cluster: ClusterSpec,
        run_dir: Path = _RUN_DIR,
        label: str | None = None,
        longest_sec: float = 0.0,
    ) -> None:
        self._run_dir, self._cluster, self._longest_sec = run_dir, cluster, longest_sec
        self._path = Path(name)
        self._make = BY_NAME.get(name)
        if self._make is None and not self._path.is_file():
            hint = nearest(name, BY_NAME) if os.sep not in name and not name.endswith(".py") else ""
            raise SpecError(
                f"{name}: no such file; give a Python file, or one of {', '.join(BY_NAME)}. {hint}".strip()
            )
        self._first: Config | None = self()
        choose(self._first, label)

    def __call__(self) -> Config:
        """Return a configuration that was not used yet."""
        first, self._first = getattr(self, "_first", None), None
        if first is not None:
            return first
        if self._make is None:
            self._make = _defined(self._path)
            if isinstance(self._make, _Factory) and self._make.takes_cluster and self._longest_sec:
                self._cluster = self._cluster.fitting(self._longest_sec)
            # A plain configuration can be used once: the next one takes another run of the file.
            config = self._checked(self._make(self._cluster))
            if isinstance(self._make, _Given):
                self._make = None
            return config
        return self._checked(self._make(self._cluster))

    def _checked(self, config: Config) -> Config:
        if any(isinstance(getattr(one, "provider", None), Blocks) for one in config.executors):
            config.run_dir = str(self._run_dir)
        elif any(_uses_shell(one) for one in config.executors):
            for folder in (str(Path(config.run_dir).absolute()), str(Path.cwd())):
                if not _PLAIN.issuperset(folder):
                    raise SpecError(
                        f"{self._path}: Parsl's own providers pass the folder {folder!r} through a shell; "
                        "start the command, and set run_dir, in a folder of letters, digits and ._-+=@, only"
                    )
        return config


def file_config(path: Path, cluster: ClusterSpec | None = None) -> Config:
    """Return the configuration that a Python file defines; see `ConfigSource`."""
    return ConfigSource(str(path), cluster or ClusterSpec())()


def choose(config: Config, label: str | None) -> Any:
    """Return the executor for trials: the one named, the only one, or the only one with worker processes.

    Raises:
        SpecError: There is none of that name, or several without a name.
    """
    known = {executor.label: executor for executor in config.executors}
    if label is not None:
        if label not in known:
            raise SpecError(
                f"executor '{label}': the configuration has none of that name; {nearest(label, known)}"
            )
        return known[label]
    found = [one for one in known.values() if isinstance(one, HighThroughputExecutor)] or list(known.values())
    if len(found) != 1:
        raise SpecError(
            f"the configuration has several executors; set 'executor' to one of: {', '.join(known)}"
        )
    return found[0]


_SCHEDULERS: Mapping[str, Callable[[], Scheduler]] = {"slurm": Slurm, "pbs": Pbs}


def _scheduler(cluster: ClusterSpec, scheduler: Scheduler) -> Scheduler:
    return Processes(around=scheduler) if cluster.allocation else scheduler


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _config(cluster: ClusterSpec, scheduler: Scheduler, run_dir: Path, label: str) -> Config:
    scheduler.check(cluster)
    _check_address(cluster.address)
    blocks = Blocks(scheduler, cluster, label, by_name=label != "local")
    executor = HighThroughputExecutor(
        label=label,
        address=cluster.address,
        encrypted=True,  # anyone on the network could else hand work to the workers
        provider=blocks,
        launch_cmd=script.pool_line(DEFAULT_LAUNCH_CMD),
        address_probe_timeout=_PROBE_SEC,
        heartbeat_period=cluster.heartbeat_sec,
        heartbeat_threshold=_SILENT_HEARTBEATS * cluster.heartbeat_sec,
        drain_period=cluster.drain_sec,
        available_accelerators=cluster.n_gpus,
        block_error_handler=Scaling(blocks),
        max_workers_per_node=cluster.workers_per_node,
    )
    return Config(
        executors=[executor],
        strategy="none",  # `scaling` asks for blocks
        strategy_period=0.2 if label == "local" else 1,
        run_dir=str(run_dir),
        initialize_logging=False,
    )


def _check_address(address: str | None) -> None:
    """Raise `SpecError` for an address at which nothing here can listen."""
    if address is None:
        return
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.bind(place)
    except OSError as error:
        raise SpecError(
            f"cluster.address {address}: is no address of this machine ({error.strerror or error}); leave it "
            "out to try all, or see 'ip -brief address' for those that there are"
        ) from error


class _Given:
    """A configuration that a file defines as such."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def __call__(self, cluster: ClusterSpec) -> Config:
        del cluster
        return self._config


class _Factory:
    """A function of a file that returns a configuration."""

    def __init__(self, function: Callable[..., Any], path: Path) -> None:
        self._function, self._path = function, path

    @property
    def takes_cluster(self) -> bool:
        """Whether the block ``cluster`` is passed to it."""
        return "cluster" in inspect.signature(self._function).parameters

    def __call__(self, cluster: ClusterSpec) -> Config:
        given, arguments = {"cluster": cluster}, {}
        for name, parameter in inspect.signature(self._function).parameters.items():
            if name in given:
                arguments[name] = given[name]
            elif parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            ):
                raise SpecError(
                    f"{self._path}: config({name}) cannot be called; its parameter may be 'cluster', others "
                    "need a default"
                )
        with _told(self._path):
            config = self._function(**arguments)
        if not isinstance(config, Config):
            raise SpecError(
                f"{self._path}: config() returned a {type(config).__name__}; it must be a parsl.Config"
            )
        return config


def _defined(path: Path) -> Callable[[ClusterSpec], Config]:
    """Run a Python file; return what gives its configuration."""
    loaded: list[Config] = []
    with _told(path), _loading_into(loaded):
        names = runpy.run_path(str(path), run_name="parsl_config_file")
    own = names.get("config")
    if isinstance(own, Config):
        return _Given(own)
    found = {id(value): value for value in [*names.values(), *loaded] if isinstance(value, Config)}
    if own is not None and callable(own) and not isinstance(own, type):
        return _Factory(own, path)
    if len(found) == 1:
        return _Given(next(iter(found.values())))
    problem = (
        "defines no parsl.Config" if not found else f"defines {len(found)} parsl.Config, none named 'config'"
    )
    raise SpecError(f"{path}: {problem}; define 'config', a parsl.Config or a function that returns one")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what a user's file raises into one line."""
    try:
        yield
    except (SpecError, ExecutorError):
        raise
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())
        raise SpecError(f"{path}: does not run: {type(error).__name__}: {text}") from error


@contextlib.contextmanager
def _loading_into(found: list[Config]) -> Iterator[None]:
    """Have ``parsl.load(config)`` of a file note the configuration, which the driver loads itself."""

    def note(config: Config | None = None, *_: Any, **__: Any) -> contextlib.AbstractContextManager[None]:
        if config is not None:
            found.append(config)
        return contextlib.nullcontext()

    former, parsl.load = parsl.load, note  # type: ignore[assignment]
    try:
        yield
    finally:
        parsl.load = former


def _uses_shell(executor: Any) -> bool:
    return getattr(executor, "provider", None) is not None
