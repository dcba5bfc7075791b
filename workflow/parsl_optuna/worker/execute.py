"""What a node runs: execute one stored trial and commit what came of it, or prepare a problem.

Plain and undecorated, so that it travels by name and the worker's installed code is what runs.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from parsl_optuna.core.errors import Preempted, StoreError, TaskError, WorkflowError
from parsl_optuna.core.ids import derive_seed
from parsl_optuna.core.objective import finite
from parsl_optuna.core.records import Manifest, Outcome, Request, State, Trial
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.files import settle
from parsl_optuna.tasks.base import prepare_task, resolve_task
from parsl_optuna.worker.apart import apart
from parsl_optuna.worker.attempt import ALONE, Hooks, Progress, attempt
from parsl_optuna.worker.classify import failed
from parsl_optuna.worker.generators import seed_all
from parsl_optuna.worker.outcomes import ended

__all__ = ["ALONE", "Hooks"]


class Finish:
    """Commits an outcome, unless it is the stored one already."""

    def __init__(
        self, store: ArtifactStore, manifest: Manifest, outcome: Outcome, progress: Progress | None = None
    ) -> None:
        self._store, self._manifest, self._outcome, self._progress = store, manifest, outcome, progress

    @property
    def data(self) -> dict[str, Any]:
        """The outcome as plain data."""
        return self._outcome.to_json()

    def __call__(self) -> dict[str, Any]:
        """Commit the outcome; return the accepted one as plain data.

        Raises:
            StoreError: It cannot be written.
        """
        accepted = self._outcome
        if self._progress is not None:
            accepted = self._store.commit(self._manifest, self._outcome)
            self._progress.checkpoint.clear()
        if self._manifest.role == "reference" and accepted.state is State.OK:
            publish(self._store, self._manifest, accepted)
        return accepted.to_json()


def execute(request: Request, hooks: Hooks = ALONE) -> dict[str, Any]:
    """Run a stored trial, unless it has an outcome, and return the accepted outcome as plain data.

    Args:
        request: The trial.
        hooks: What the process around the trial passes to it.

    Raises:
        WorkflowError: The store cannot be read or written, or the task cannot be loaded. A failing run is an
            outcome instead.
        Preempted: The node has to be left; progress is saved.
    """
    outcome, limits = begin(request, hooks)(), request.limits
    files = ArtifactStore(Path(request.root)).paths.files(request.pid, request.method, request.trial_id)
    settle(files, request.launch_folder, limits.keep_files, limits.keep_files_mb)
    return outcome


def begin(request: Request, hooks: Hooks = ALONE) -> Finish:
    """Run a stored trial as `execute` does; return what commits its outcome."""
    store = ArtifactStore(Path(request.root).absolute())  # the trial runs in another folder
    manifest, asked = store.manifest(request.pid, request.method, request.trial_id)
    done = store.outcome(manifest)
    if done is not None:
        return Finish(store, manifest, done)
    _find_tasks_in(request.launch_folder)
    progress = Progress.of(store, manifest, asked, request, hooks)
    outcome = attempt(store, Trial(manifest, asked), request, progress, hooks)
    return Finish(store, manifest, outcome, progress)


def replay(root: str, pid: str, method: str, trial_id: str) -> dict[str, Any]:
    """Run a stored trial again without storing anything, and compare it with its outcome.

    Returns:
        The new outcome as plain data; ``agrees`` says whether state and compared metric are the
        stored ones, and is None when there is nothing to compare with.

    Raises:
        WorkflowError: As `execute`.
    """
    store = ArtifactStore(Path(root).absolute())
    manifest, asked = store.manifest(pid, method, trial_id)
    stored = store.outcome(manifest)
    request = Request(root, pid, method, trial_id)
    _find_tasks_in(request.launch_folder)
    data = attempt(store, Trial(manifest, asked), request, Progress(), ALONE).to_json()
    agrees = None
    if stored is not None:
        name = resolve_task(manifest.task).result
        found = finite(data["metrics"].get(name))
        agrees = (stored.state, stored.metrics.get(name)) == (data["state"], found)
    return data | {"agrees": agrees}


def prepare(request: Request) -> None:
    """Prepare a stored problem, unless it is prepared.

    Args:
        request: Of the problem; its method and trial do not matter.

    Raises:
        TaskError: The task cannot prepare it.
        WorkflowError: The store cannot be read or written, or the task cannot be loaded.
    """
    folder = request.launch_folder
    _find_tasks_in(folder)
    store = ArtifactStore(Path(request.root).absolute())
    stored = store.problem(request.pid)
    if stored is None:
        raise StoreError(f"{store.paths.problem(request.pid)} is missing; run the command again")
    task = resolve_task(stored["task"])
    seed_all(derive_seed("prepare", request.pid))
    try:
        with apart(folder, folder, is_own_process=False):
            store.prepare(request.pid, partial(prepare_task, task, stored["problem"]))
    except (WorkflowError, Preempted, KeyboardInterrupt):
        raise
    except BaseException as error:  # such as SystemExit
        raise TaskError(failed(error)[1]) from error


def failure(
    manifest: Manifest, state: State, reason: str, *, runtime_sec: float = 0.0, output: str | None = None
) -> Outcome:
    """Return the outcome of a trial that could not commit its own; *output* is the end of what it printed."""
    return ended(manifest, state, reason, runtime_sec=runtime_sec, traceback=output)


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


def _find_tasks_in(launch: Path) -> None:
    """Let a task ``module:NAME`` be found in the driver's folder; last, so that it hides nothing."""
    if str(launch) not in sys.path:
        sys.path.append(str(launch))
