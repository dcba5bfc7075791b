"""What a worker runs: a trial in a process of its own, watched, so that what it does reaches nothing else.

A trial that overruns its budget, eats its memory, crashes or floods its output ends in a state of its own;
what is no fault of the trial is `WorkerLost`, for the driver to try again. The outcome is what is on disk.
"""

from __future__ import annotations

import math
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from parsl_optuna.core import errors
from parsl_optuna.core.counted import counted
from parsl_optuna.core.errors import (
    ExecutorError,
    NodeReclaimed,
    NotStarted,
    StoreError,
    TaskError,
    WorkerLost,
)
from parsl_optuna.core.records import Outcome, Request, State
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.files import settle
from parsl_optuna.store.output import MOST_BYTES
from parsl_optuna.worker import execute as worker
from parsl_optuna.worker.fork_client import Ended, ForkClient, Watch, lost
from parsl_optuna.worker.messages import ENGINE_FAULT

_NEAR_LIMIT = 0.8
"""A process that is killed with this share of the memory in use was killed for it."""

_PBS_GRACE_SEC = 5.0
"""PBS kills the session of a deleted job 10 s after its SIGTERM by default (kill_delay), the fork server with
it: what a trial started in sessions of its own has to be gone before."""

_clients: dict[tuple[int, int], ForkClient] = {}
"""The fork server of each thread of this process: a forked worker does not share its parent's."""


def run(request: Request) -> dict[str, Any]:
    """Run a stored trial in a process of its own; return the accepted outcome as plain data.

    Raises:
        WorkerLost: The process was killed or preempted from outside, and another try may help.
        NotStarted: The driver is leaving.
        WorkflowError: The store cannot be read or written, the task cannot be loaded, or no process started.
    """
    if request.leaving is not None and Path(request.leaving).exists():
        raise NotStarted("the driver is leaving")
    store, limits = ArtifactStore(Path(request.root)), request.limits
    names = (request.pid, request.method, request.trial_id)
    watch = Watch(
        limits.prepare_sec,
        request.budget_sec,
        limits.grace_sec,
        store.paths.stop(*names) if request.prunable else None,
        store.paths.output(*names, "stdout"),
        store.paths.output(*names, "stderr"),
    )
    outcome = _outcome(store, request, _served(request, watch))
    files = store.paths.files(*names)
    removed = settle(files, request.launch_folder, limits.keep_files, limits.keep_files_mb)
    _note_removed(watch.stderr, removed)
    return outcome.to_json()


def prepare(request: Request) -> None:
    """Prepare a stored problem in a process of its own, unless it is prepared.

    Raises:
        TaskError: Its task cannot.
        WorkflowError: As `run`.
    """
    limits = request.limits
    folder = ArtifactStore(Path(request.root)).paths.problem(request.pid).parent
    files = [folder / f"prepare-{stream}.txt" for stream in ("stdout", "stderr")]
    ended = _served(request, Watch(limits.prepare_sec, math.inf, 0.0, None, *files))
    if ended.status is None:
        raise lost(ended)
    _raise_engine_faults(ended)
    if ended.status != 0:
        state, reason = verdict(ended, limits.prepare_sec, limits.memory_gb)
        raise WorkerLost(reason) if state is State.LOST else TaskError(reason)


def _served(request: Request, watch: Watch) -> Ended:
    """Have the fork server of this thread serve a request.

    Raises:
        WorkerLost: The server was killed while it started.
    """
    key, grace_sec = (os.getpid(), threading.get_ident()), request.limits.grace_sec
    if "PBS_JOBID" in os.environ:
        grace_sec = min(grace_sec, _PBS_GRACE_SEC)
    client = _clients.get(key)
    if client is None or not client.is_alive or client.grace_sec != grace_sec:
        if client is not None:
            client.close()
            del _clients[key]
        client = _clients[key] = ForkClient(grace_sec)
    launch = str(request.launch_folder)
    ended = client.run({"request": replace(request, launch=launch).to_json()}, watch)
    if ended.status is None or ended.is_leaving:
        _clients.pop(key).close()
    return ended


def _outcome(store: ArtifactStore, request: Request, ended: Ended) -> Outcome:
    """Return the outcome of a trial whose process has ended: what is on disk, before all that it said.

    Raises:
        WorkerLost: It has none, through no fault of its own.
    """
    manifest, _ = store.manifest(request.pid, request.method, request.trial_id)
    accepted, said = store.outcome(manifest), ended.said
    if accepted is not None:
        return accepted
    if "uncommitted" in said:
        return store.commit(manifest, Outcome.from_json(said["uncommitted"]))
    if "preempted" in said:
        raise NodeReclaimed("the scheduler took the node back; its progress is saved")
    if ended.status is None:
        raise lost(ended)
    _raise_engine_faults(ended)
    if "told_to_stop" in said and ended.overran is None:
        kind = NodeReclaimed if ended.is_leaving else WorkerLost
        raise kind("its process was told to stop and did not save its progress in time")
    state, reason = verdict(ended, request.budget_sec, request.limits.memory_gb)
    if state is State.LOST:
        raise WorkerLost(reason)
    tail = ended.tail or None
    outcome = worker.failure(manifest, state, reason, runtime_sec=ended.ran_sec, output=tail)
    return store.commit(manifest, outcome)


def _raise_engine_faults(ended: Ended) -> None:
    said = ended.said
    if "error" in said:
        raise getattr(errors, said["error"])(said["text"])
    if said.get("engine") == "lost":
        raise WorkerLost(said["text"])
    if "engine" in said:
        raise ExecutorError(f"a fault of this program, not of the trial: {said['text']}")


def _note_removed(stderr: Path, removed: list[str]) -> None:
    """Say at the end of a trial's stderr which files were not kept."""
    if not removed:
        return
    listed = ", ".join(removed[:20]) + (", …" if len(removed) > 20 else "")
    text = f"\n[parsl-optuna: not kept, by limits: keep_files: {counted(len(removed), 'file')}: {listed}]\n"
    try:
        with stderr.open("a", encoding="utf-8") as stream:
            stream.write(text[:MOST_BYTES])
    except OSError as error:
        raise StoreError(f"{stderr}: cannot be written: {error.strerror}") from error


def verdict(ended: Ended, budget_sec: float, memory_gb: float | None) -> tuple[State, str]:
    """Return the state of a trial whose process ended without an outcome, and why."""
    status = ended.status or 0
    if ended.overran is not None:
        if not ended.began:
            return State.TIMEOUT, "preparing it took longer than limits: prepare_sec; killed"
        return (
            State.TIMEOUT,
            f"still running {ended.overran:g} s after its budget of {budget_sec:g} s; killed",
        )
    if status == ENGINE_FAULT:
        return State.LOST, "the engine's part of its process failed, without a word"
    if status >= 0:
        return State.FAILED, f"it ended its own process with exit code {status} before it returned"
    name = signal.Signals(-status).name
    if -status == signal.SIGKILL:
        size = memory_gb * 2**30 if memory_gb else _memory()
        if ended.peak >= _NEAR_LIMIT * size:
            return State.OUT_OF_MEMORY, f"killed with {ended.peak / 2**30:.1f} GiB in use"
        return State.LOST, "its process was killed from outside"
    if -status == signal.SIGTERM:
        return State.LOST, "its process was terminated from outside"
    return State.FAILED, f"its process died of {name}"


def _memory() -> float:
    """Return the memory that this process may use, in bytes: its control group's, or the machine's."""
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        return min(total, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such group, or "max"
        return total
