"""The only function that a node runs: execute one stored trial, commit what came of it.

Plain and undecorated, so that it travels by name and the worker's installed code is what runs.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from parsl_optuna import __version__
from parsl_optuna.core.clock import Deadline, utc_now
from parsl_optuna.core.errors import CorruptArtifact, Pruned, StoreError, TaskError, WorkflowError, nearest
from parsl_optuna.core.ids import derive_seed
from parsl_optuna.core.objective import ERROR, finite
from parsl_optuna.core.records import Asked, Manifest, Outcome, Request, State, check_metric_names
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.store.progress import Reporter, stop_reason
from parsl_optuna.tasks.base import Metrics, Task, Work, prepare_task, resolve_task, run_task

_WORKER_VARIABLES = (
    "PARSL_WORKER_RANK",
    "PARSL_WORKER_BLOCK_ID",
    "PARSL_WORKER_POOL_ID",
    "SLURM_JOB_ID",
    "SLURMD_NODENAME",
    "PBS_JOBID",
    "CUDA_VISIBLE_DEVICES",
)
_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
"""How torch and its CUDA allocator say it, in a RuntimeError."""

_REPORTED_PACKAGES = ("torch", "numpy")


@dataclass(frozen=True)
class Hooks:
    """What the process around a trial passes to it.

    Attributes:
        begin: Called when the problem is prepared and the run itself begins.
        end: Called when the run itself has ended.
        stopping: Whether the scheduler wants the node back.
        is_pruned: Asked after every report: whether the run is to end as pruned.
    """

    begin: Callable[[], None] = lambda: None
    end: Callable[[], None] = lambda: None
    stopping: Callable[[], bool] = lambda: False
    is_pruned: Callable[[], bool] = lambda: False


ALONE = Hooks()


def execute(request: Request, hooks: Hooks = ALONE) -> dict[str, Any]:
    """Run a stored trial, unless it has an outcome, and return the accepted outcome as plain data.

    Args:
        request: The trial.
        hooks: What the process around the trial passes to it.

    Raises:
        WorkflowError: The store cannot be read or written. A failing run is an outcome instead.
        Preempted: The node has to be left; progress is saved.
    """
    store = ArtifactStore(Path(request.root))
    manifest, asked = store.manifest(request.pid, request.method, request.trial_id)
    outcome = store.outcome(manifest)
    if outcome is None:
        progress = _progress(store, manifest, asked, request, hooks)
        outcome = store.commit(manifest, _attempt(store, manifest, asked, progress, hooks))
        progress.checkpoint.clear()
    if manifest.role == "reference" and outcome.state is State.OK:
        publish(store, manifest, outcome)
    return outcome.to_json()


def replay(root: str, pid: str, method: str, trial_id: str) -> dict[str, Any]:
    """Run a stored trial again without storing anything, and compare it with its outcome.

    Returns:
        The new outcome as plain data; ``agrees`` says whether state and compared metric are the
        stored ones, and is None when there is nothing to compare with.

    Raises:
        WorkflowError: As `execute`.
    """
    store = ArtifactStore(Path(root))
    manifest, asked = store.manifest(pid, method, trial_id)
    stored = store.outcome(manifest)
    data = _attempt(store, manifest, asked, _Progress(), ALONE).to_json()
    agrees = None
    if stored is not None:
        name = resolve_task(manifest.task).result
        found = finite(data["metrics"].get(name))
        agrees = (stored.state, stored.metrics.get(name)) == (data["state"], found)
    return data | {"agrees": agrees}


def prepare(root: str, pid: str) -> None:
    """Prepare a stored problem, unless it is prepared.

    Raises:
        TaskError: The task cannot prepare it.
        WorkflowError: The store cannot be read or written.
    """
    store = ArtifactStore(Path(root))
    stored = store.problem(pid)
    if stored is None:
        raise TaskError(f"{store.paths.problem(pid)} is missing; run the command again")
    task = resolve_task(stored["task"])
    try:
        store.prepare(pid, lambda folder: prepare_task(task, stored["problem"], folder))
    except WorkflowError:
        raise
    except Exception as error:
        raise TaskError(f"{type(error).__name__}: {error}".splitlines()[0]) from error


def failure(
    manifest: Manifest, state: State, reason: str, *, runtime_sec: float = 0.0, output: str | None = None
) -> Outcome:
    """Return the outcome of a trial that could not commit its own; *output* is the end of what it printed."""
    now = utc_now()
    return Outcome(
        manifest.trial_id,
        manifest.pid,
        manifest.method,
        state,
        reason,
        runtime_sec=runtime_sec,
        budget_sec=manifest.budget_sec,
        started=now,
        ended=now,
        host=socket.gethostname(),
        traceback=output,
    )


@dataclass(frozen=True)
class _Progress:
    """Where a run keeps and tells how far it is; by default nowhere."""

    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    reporter: Reporter = field(default_factory=Reporter)
    is_pruned: Callable[[], bool] = lambda: False
    stop: Path | None = None
    files: Path | None = None

    def report(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Report progress; raises `Pruned` when the trial is to stop, `SpecError` at a bad name."""
        check_metric_names(metrics)
        self.reporter.report(step, metrics)
        if self.is_pruned():
            raise Pruned


def _progress(
    store: ArtifactStore, manifest: Manifest, asked: Asked, request: Request, hooks: Hooks
) -> _Progress:
    names, limits = (manifest.pid, manifest.method, manifest.trial_id), request.limits
    folder, source, reported, most = store.paths.metrics(*names).parent, None, None, 0
    if asked.extends is not None:
        source = store.paths.metrics(manifest.pid, manifest.method, asked.extends).parent
        reported = store.paths.progress(manifest.pid, manifest.method, asked.extends)
    with contextlib.suppress(WorkflowError):  # a task that cannot be found is an outcome of `_attempt`
        if manifest.method in _task_of(manifest).extends:
            most = int(limits.keep_checkpoint_mb * 2**20)
    checkpoint = Checkpoint(folder, limits.checkpoint_sec, hooks.stopping, source=source, most_bytes=most)
    reporter = Reporter(store.paths.progress(*names), fresh=checkpoint.load() is None, before=reported)
    return _Progress(
        checkpoint, reporter, hooks.is_pruned, store.paths.stop(*names), store.paths.files(*names)
    )


def _attempt(
    store: ArtifactStore,
    manifest: Manifest,
    asked: Asked,
    progress: _Progress,
    hooks: Hooks,
) -> Outcome:
    started, prepare_sec, begun = utc_now(), 0.0, time.monotonic()
    state, reason, trace, metrics = State.OK, None, None, {}
    try:
        task = _task_of(manifest)
        stored = store.problem(manifest.pid)
        if stored is None:
            raise TaskError(f"{store.paths.problem(manifest.pid)} is missing; run the command again")
        problem = stored["problem"]
        prepared = None
        if task.prepare is not None:
            prepared = store.prepare(manifest.pid, lambda folder: prepare_task(task, problem, folder))
            prepare_sec = time.monotonic() - begun
        begun = time.monotonic()
        hooks.begin()
        try:
            seed = derive_seed("run", store.root_of(manifest, asked))
            metrics = _run(task, manifest, seed, problem, prepared, progress)
        finally:
            hooks.end()
        state, reason = _classify(task, metrics, asked.objective)
    except Pruned:
        metrics, state = progress.reporter.last, State.PRUNED
        reason = progress.stop and stop_reason(progress.stop)
    except (Exception, SystemExit) as error:  # a failing trial is a result
        if isinstance(error, (StoreError, CorruptArtifact)):
            raise  # not the trial's doing
        state, reason = _failed(error)
        trace = traceback.format_exc()
    runtime = progress.checkpoint.used_sec + time.monotonic() - begun
    return Outcome(
        manifest.trial_id,
        manifest.pid,
        manifest.method,
        state,
        reason,
        runtime_sec=runtime,
        budget_sec=manifest.budget_sec,
        started=started,
        ended=utc_now(),
        host=socket.gethostname(),
        prepare_sec=prepare_sec,
        traceback=trace,
        versions=_versions(),
        git_commit=_git_commit(),
        worker={name: os.environ[name] for name in _WORKER_VARIABLES if name in os.environ},
        metrics=metrics,
    )


def _failed(error: BaseException) -> tuple[State, str]:
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text.lower() for words in _NO_MEMORY):
        return State.OUT_OF_MEMORY, text.splitlines()[0] if text else "out of memory"
    return State.FAILED, f"{type(error).__name__}: {text}".splitlines()[0]


def _run(
    task: Task,
    manifest: Manifest,
    seed: int,
    problem: Mapping[str, Any],
    prepared: Path | None,
    progress: _Progress,
) -> Metrics:
    if progress.stop is not None and progress.stop.exists():
        raise Pruned  # in an earlier attempt
    left = max(manifest.budget_sec - progress.checkpoint.used_sec, 1e-9)
    work = Work(
        problem,
        manifest.method,
        manifest.hyperparams,
        seed,
        Deadline(left),
        prepared,
        progress.checkpoint,
        progress.report,
        manifest.seed,
        progress.files,
    )
    metrics = run_task(task, work)
    check_metric_names(metrics)
    return metrics


def _classify(task: Task, metrics: Metrics, objective: Mapping[str, Any]) -> tuple[State, str | None]:
    """Call a run without a finite result invalid, so that it is never told as a value.

    So is one that never reported the metric it is judged by: the reason then lists what it reported.
    """
    name = task.result
    if name in metrics and finite(metrics[name]) is None:
        return State.INVALID, f"{name} is {metrics[name]}" + _because(metrics)
    name = objective.get("metric") if objective.get("type") == "metric" else None
    if name is None or name in metrics or name == "runtime_sec" or ERROR not in objective.get("names", ()):
        return State.OK, None
    known = ", ".join(f"'{one}'" for one in sorted(metrics))
    return State.INVALID, f"the metrics are {known or 'none'}; none is '{name}'; {nearest(name, metrics)}"


def _because(metrics: Metrics) -> str:
    reason = metrics.get("status_reason")
    return f": {reason}" if reason else ""


def _task_of(manifest: Manifest) -> Task:
    task = resolve_task(manifest.task)
    if task.version != manifest.task_version:
        raise TaskError(
            f"the manifest is for version {manifest.task_version} of task '{task.name}', not {task.version}"
        )
    return task


def publish(store: ArtifactStore, manifest: Manifest, outcome: Outcome) -> None:
    """Write ``ref.json`` from the outcome of a reference."""
    reference = resolve_task(manifest.task).reference
    assert reference is not None
    names, metrics = reference.comparison, outcome.metrics
    data = {
        names.reference: metrics.get(names.value),
        names.reference_se: metrics.get(names.value_se),
        "status": metrics.get("status", "ok"),
        "status_reason": metrics.get("status_reason"),
        "trial_id": outcome.trial_id,
        "method": manifest.method,
        "runtime_sec": outcome.runtime_sec,
        "budget_sec": outcome.budget_sec,
        "metrics": outcome.metrics,
    }
    store.put_reference(manifest.pid, data)


@functools.cache
def _git_commit() -> str | None:
    """Return the commit of this package's checkout; None when it is installed without one."""
    folder = Path(__file__).resolve().parents[3]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "parsl_optuna": __version__}
    return found | {name: _version(name) for name in _REPORTED_PACKAGES if name in sys.modules}


@functools.cache
def _version(package: str) -> str:
    return metadata.version(package)
