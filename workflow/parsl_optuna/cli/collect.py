"""``parsl-optuna collect``: rebuild the table of trials from the artifacts alone."""

from __future__ import annotations

from pathlib import Path

import click

from parsl_optuna.cli import options
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.layout import Results


@click.command("collect")
@click.option("--task", default="llc", show_default=True, help="Task whose trials are collected.")
@options.artifacts_dir
@options.results_dir
def command(task: str, artifacts_dir: str | None, results_dir: str | None) -> None:
    """Rebuild the table of trials from the artifacts alone, all studies of a task together."""
    from parsl_optuna.report import tables as aggregate  # noqa: PLC0415
    from parsl_optuna.tasks.base import resolve_task  # noqa: PLC0415

    store = ArtifactStore(Path(artifacts_dir or "artifacts"))
    entries = aggregate.collect(store, task)
    path = Results(Path(results_dir or "results")).table
    aggregate.write(aggregate.table(entries, resolve_task(task)), path)
    click.echo(f"{len(entries)} trials in {path}")
