"""``parsl-optuna collect``: rebuild the table of trials from the artifacts alone."""

from __future__ import annotations

from pathlib import Path

import click

from parsl_optuna.cli import options
from parsl_optuna.core.counted import counted
from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.layout import Results


@click.command("collect")
@click.option("--task", help="Task whose trials are collected; needed where the artifacts hold several.")
@options.artifacts_dir
@options.results_dir
def command(task: str | None, artifacts_dir: str | None, results_dir: str | None) -> None:
    """Rebuild the table of trials from the artifacts alone, all studies of a task together."""
    from parsl_optuna.report import tables as aggregate  # noqa: PLC0415
    from parsl_optuna.tasks.base import resolve_task  # noqa: PLC0415

    store = ArtifactStore(Path(artifacts_dir or "artifacts"))
    name = _only(store, task)
    entries = aggregate.collect(store, name)
    path = Results(Path(results_dir or "results")).table
    aggregate.write(aggregate.table(entries, resolve_task(name)), path)
    click.echo(f"{counted(len(entries), 'trial')} in {path}")


def _only(store: ArtifactStore, task: str | None) -> str:
    """Return the task to collect; the table is written over, so that a wrong one would empty it."""
    problems = [store.problem(pid) for pid in store.problem_ids()]
    there = sorted({str(problem["task"]) for problem in problems if problem is not None})
    if not there:
        raise SpecError(f"{store.paths.root}: no problems yet; give the --artifacts-dir of a run")
    if task is None and len(there) > 1:
        raise SpecError(f"{store.paths.root}: holds tasks {', '.join(there)}; choose one with --task")
    if task is not None and task not in there:
        raise SpecError(f"--task {task}: {store.paths.root} has none of its trials; {nearest(task, there)}")
    return task or there[0]
