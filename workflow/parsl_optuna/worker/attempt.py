"""One attempt at a trial: run its task once, and say what came of it."""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import index
from pathlib import Path
from typing import Any, SupportsIndex

from parsl_optuna.core.clock import Deadline, utc_now
from parsl_optuna.core.errors import (
    CorruptArtifact,
    MetricNameError,
    Preempted,
    Pruned,
    SpecError,
    StoreError,
    TaskError,
    WorkerLost,
)
from parsl_optuna.core.ids import derive_seed
from parsl_optuna.core.records import Asked, Manifest, Outcome, Request, State, Trial, check_metric_names
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.atomic import check_disk
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.store.files import PROGRAMS
from parsl_optuna.store.output import Output
from parsl_optuna.store.progress import Reporter, stop_reason
from parsl_optuna.store.reads import Reads, noted
from parsl_optuna.tasks.base import Metrics, Task, Work, load_run, prepare_task, resolve_task
from parsl_optuna.tasks.function import as_metrics
from parsl_optuna.worker.apart import apart
from parsl_optuna.worker.classify import checked, classify, cure_of, failed, is_of_disk
from parsl_optuna.worker.generators import seed_all
from parsl_optuna.worker.outcomes import ended
from parsl_optuna.worker.provenance import git_commit, local_code, versions

_WORKER_VARIABLES = (
    "PARSL_WORKER_RANK",
    "PARSL_WORKER_BLOCK_ID",
    "PARSL_WORKER_POOL_ID",
    "SLURM_JOB_ID",
    "SLURMD_NODENAME",
    "PBS_JOBID",
    "CUDA_VISIBLE_DEVICES",
)


@dataclass(frozen=True)
class Hooks:
    """What the process around a run passes it.

    Attributes:
        begin: Called when the problem is prepared and the run itself begins.
        end: Called when the run itself has ended.
        stopping: Whether the scheduler wants the node back.
        is_pruned: Asked after every report: whether the run is to end as pruned.
        is_own_process: Whether the process ends with the trial, and its streams are the trial's.
    """

    begin: Callable[[], None] = lambda: None
    end: Callable[[], None] = lambda: None
    stopping: Callable[[], bool] = lambda: False
    is_pruned: Callable[[], bool] = lambda: False
    is_own_process: bool = False


ALONE = Hooks()


@dataclass
class Progress:
    """Where a run keeps and reports how far it is; by default nowhere.

    Attributes:
        fault: What the engine failed with inside of the run, where a task could have caught it.
    """

    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    reporter: Reporter = field(default_factory=Reporter)
    is_pruned: Callable[[], bool] = lambda: False
    stop: Path | None = None
    files: Path | None = None
    fault: StoreError | None = None

    @classmethod
    def of(
        cls, store: ArtifactStore, manifest: Manifest, asked: Asked, request: Request, hooks: Hooks
    ) -> Progress:
        """Return that of a stored trial."""
        names, limits = (manifest.pid, manifest.method, manifest.trial_id), request.limits
        folder, source, reported, most = store.paths.metrics(*names).parent, None, None, 0
        if asked.extends is not None:
            source = store.paths.metrics(manifest.pid, manifest.method, asked.extends).parent
            reported = store.paths.progress(manifest.pid, manifest.method, asked.extends)
        if manifest.method in task_of(manifest).extends:
            most = int(limits.keep_checkpoint_mb * 2**20)
        checkpoint = Checkpoint(folder, limits.checkpoint_sec, hooks.stopping, source=source, most_bytes=most)
        reporter = Reporter(store.paths.progress(*names), fresh=checkpoint.load() is None, before=reported)
        return cls(checkpoint, reporter, hooks.is_pruned, store.paths.stop(*names), store.paths.files(*names))

    def report(self, step: SupportsIndex | float, metrics: Mapping[str, Any] | float) -> None:
        """Report progress: a step, and metrics as a function may return them.

        Raises:
            Pruned: The trial is to stop.
            MetricNameError: A name that no metric can have.
            TaskError: The step is no whole number, or a metric cannot be stored.
        """
        if isinstance(metrics, Mapping):
            check_metric_names(metrics)
        plain = checked(as_metrics(metrics, verb=("reported", "report")))
        try:
            self.reporter.report(_whole(step), plain)
        except StoreError as error:
            self.fault = error
            raise
        if self.is_pruned():
            raise Pruned


def _whole(step: Any) -> int:
    """Return a step as Python's whole number; numpy's, torch's and 3.0 are taken too."""
    try:
        return int(step) if float(step).is_integer() else index(step)
    except (TypeError, ValueError, OverflowError) as error:
        raise TaskError(
            f"report({step!r}, …): the step must be a whole number; first the step, then the metrics"
        ) from error


@dataclass
class _Run:
    """What a run came to."""

    state: State = State.OK
    reason: str | None = None
    trace: str | None = None
    cure: str | None = None
    is_of_disk: bool = False
    metrics: Metrics = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)


def attempt(
    store: ArtifactStore, trial: Trial, request: Request, progress: Progress, hooks: Hooks
) -> Outcome:
    """Run a trial's task once.

    Raises:
        WorkflowError: The task cannot be loaded, or the store fails: no fault of the trial. So is
            a disk that was full or failed under it.
        Preempted: The node has to be left; progress is saved.
    """
    manifest, asked = trial.manifest, trial.asked
    started, run = utc_now(), _Run()
    task = task_of(manifest)
    function = load_run(task)
    stored = store.problem(manifest.pid)
    if stored is None:
        raise StoreError(f"{store.paths.problem(manifest.pid)} is missing; run the command again")
    problem, prepared, prepare_sec, launch = stored["problem"], None, 0.0, request.launch_folder
    code_folder = launch / task.code_folder(problem) if task.code_folder is not None else launch
    commit = git_commit(code_folder)
    begun = time.monotonic()
    if task.prepare is not None:
        seed_all(derive_seed("prepare", manifest.pid))
        with _failing(run, hooks), apart(launch, launch, is_own_process=hooks.is_own_process):
            prepared = store.prepare(manifest.pid, partial(prepare_task, task, problem))
            prepare_sec = time.monotonic() - begun
    begun = time.monotonic()
    if run.state is State.OK:
        seed = derive_seed("run", store.root_of(manifest, asked))
        work = _work(manifest, seed, problem, prepared, progress, hooks, launch)
        folder = launch if request.limits.working_folder == "launch" else progress.files
        files = task.code_files(problem, launch) if task.code_files is not None else []
        if folder == launch:  # where trials may write what they name
            files = [path for path in files if path.suffix in PROGRAMS]
        reads = Reads(launch, folder, store.paths.root)
        known = partial(_known, reads, launch, code_folder, files)
        with noted(reads):
            run = _run(function, work, folder, progress, hooks, known)
        if run.state is State.OK:
            run.state, run.reason = classify(task, run.metrics, asked.objective)
            run.cure = cure_of(task, run.metrics, asked.objective) if run.state is State.INVALID else None
    _check_disks(store, manifest, run)
    runtime = progress.checkpoint.used_sec + time.monotonic() - begun
    return _outcome(manifest, run, started, runtime, prepare_sec, commit)


def _known(reads: Reads, launch: Path, code_folder: Path, files: list[Path]) -> dict[str, str]:
    """Return the marks of the user's files that a run depends on, as far as they are known."""
    with noted(None):
        return reads.among(local_code(launch, [code_folder], files))


def _check_disks(store: ArtifactStore, manifest: Manifest, run: _Run) -> None:
    """Let a run have no outcome whose disk was full or failed: that is no fault of the trial's.

    Raises:
        StoreError: It is the store's disk, now, or somebody removed the folder of the trial under it.
        WorkerLost: It was another one, or a moment of the store's.
    """
    if run.state is State.FAILED:
        check_disk(store.paths.root)
        path = store.paths.manifest(manifest.pid, manifest.method, manifest.trial_id)
        if not path.exists():
            raise StoreError(f"{path}: was removed while its trial ran; run the command again")
    if run.is_of_disk:
        raise WorkerLost(f"a disk failed under it: {run.reason}")


def _outcome(
    manifest: Manifest, run: _Run, started: str, runtime_sec: float, prepare_sec: float, commit: str | None
) -> Outcome:
    return ended(
        manifest,
        run.state,
        run.reason,
        runtime_sec=runtime_sec,
        started=started,
        prepare_sec=prepare_sec,
        traceback=run.trace,
        versions=versions(),
        git_commit=commit,
        code=run.code,
        worker={name: os.environ[name] for name in _WORKER_VARIABLES if name in os.environ},
        metrics=run.metrics,
        cure=run.cure,
    )


def _run(
    function: Callable[[Work], Metrics],
    work: Work,
    folder: Path | None,
    progress: Progress,
    hooks: Hooks,
    look: Callable[[], dict[str, str]],
) -> _Run:
    """Call a task in its working folder."""
    run, code = _Run(), {}
    own = hooks.is_own_process
    seed_all(work.seed)
    try:
        hooks.begin()  # from here on the request to stop may come; what else it raises is the engine's
        with (
            _failing(run, hooks, work.launch),
            apart(folder, work.launch, is_own_process=own, look=lambda: code.update(look())),
        ):
            if progress.stop is not None and progress.stop.exists():
                raise Pruned  # in an earlier attempt
            run.metrics = checked(function(work))
    except Pruned:
        reason = progress.stop and stop_reason(progress.stop)
        run = _Run(State.PRUNED, reason, metrics=progress.reporter.last)
    finally:
        hooks.end()
    if progress.fault is not None:
        raise progress.fault  # also where the task has caught it
    run.code = code
    return run


@contextlib.contextmanager
def _failing(run: _Run, hooks: Hooks, launch: Path | None = None) -> Iterator[None]:
    """Note in *run* what a task raises; the engine's failures pass through."""
    # Ctrl-C ends a run inline; in a process of its own it is ignored, and the task has raised it itself.
    kinds = (StoreError, CorruptArtifact, Preempted, Pruned)
    passing = kinds if hooks.is_own_process else (*kinds, KeyboardInterrupt)
    try:
        yield
    except BaseException as error:  # such as asyncio.CancelledError
        if isinstance(error, passing):
            raise
        run.state, run.reason = failed(error, launch)
        run.is_of_disk = is_of_disk(error)
        if isinstance(error, MetricNameError):
            run.cure = "no trial of this code can succeed"
        run.trace = traceback.format_exc().encode(errors="backslashreplace").decode()


def _work(
    manifest: Manifest,
    seed: int,
    problem: Mapping[str, Any],
    prepared: Path | None,
    progress: Progress,
    hooks: Hooks,
    launch: Path,
) -> Work:
    left = max(manifest.budget_sec - progress.checkpoint.used_sec, 1e-9)
    return Work(
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
        launch,
        *([_echo] if hooks.is_own_process else [_keep(progress.files)] if progress.files is not None else []),
    )


def _echo(stream: int, content: bytes) -> None:
    """Print what a program printed; the supervisor keeps it."""
    view = memoryview(content)
    while view:
        view = view[os.write(stream, view) :]


def _keep(files: Path) -> Callable[[int, bytes], None]:
    """Return what keeps the output of a program whose trial has no supervisor."""
    outputs = {1: Output(files.with_name("stdout.txt")), 2: Output(files.with_name("stderr.txt"))}
    return lambda stream, content: outputs[stream].add(content)


def task_of(manifest: Manifest) -> Task:
    """Return a manifest's task.

    Raises:
        SpecError: It cannot be imported, or has another version.
    """
    task = resolve_task(manifest.task)
    if task.version != manifest.task_version:
        raise SpecError(
            f"the manifest is for version {manifest.task_version} of task '{task.name}', not {task.version}; "
            "run the command again"
        )
    return task
