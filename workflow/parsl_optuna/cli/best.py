"""``parsl-optuna best``: show the best hyperparameters of a finished or running study."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from parsl_optuna.cli import options
from parsl_optuna.core.errors import SpecError
from parsl_optuna.store import document
from parsl_optuna.store.layout import Results


@click.command("best")
@options.results_dir
@options.as_json
def command(results_dir: str | None, as_json: bool) -> None:
    """Show the best hyperparameters of the last run, with their error on fresh seeds."""
    from parsl_optuna.report.best import best_tables  # noqa: PLC0415

    path = Results(Path(results_dir or "results")).best
    data = document.read(path)
    if data is None or "studies" not in data:
        raise SpecError(f"{path}: no such file; run parsl-optuna first, or give --results-dir")
    if as_json:
        click.echo(json.dumps(data["studies"], indent=2))
        return
    for table in best_tables(data["studies"]):
        Console().print(table)
