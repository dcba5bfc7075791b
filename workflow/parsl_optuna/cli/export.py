"""``parsl-optuna export``: write the trials of a results folder for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from parsl_optuna.cli import options
from parsl_optuna.core.counted import counted
from parsl_optuna.core.errors import SpecError
from parsl_optuna.store.atomic import write_bytes


@click.command("export", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--optuna", "storage", metavar="URL", help="Storage of Optuna, e.g. sqlite:///study.db.")
@click.option("--csv", "csv", type=click.Path(path_type=Path, dir_okay=False), help="File of a flat table.")
@options.artifacts_dir
def command(results: Path, storage: str | None, csv: Path | None, artifacts_dir: str | None) -> None:
    """Write the trials of a results folder, or of one of its tables, for other tools.

    With --optuna, every problem and method is a study with the ids, metrics, reported values and times of its
    trials; optuna-dashboard opens it. With --csv, a row per trial and a column per hyperparameter (hp_NAME).
    """
    from parsl_optuna.report.tables import leading_of, maximised_of, objectives_of, read, table_in  # noqa: PLC0415

    if storage is None and csv is None:
        raise SpecError("what should be written? give --optuna URL or --csv FILE")
    table = read(table_in(results))
    if csv is not None:
        from parsl_optuna.report.configurations import flatten  # noqa: PLC0415

        flat = flatten(table.to_pandas()).drop(columns=["hyperparams"])
        write_bytes(csv, flat.to_csv(index=False).encode())
        click.echo(f"{counted(len(flat), 'trial')} to {csv}")
    if storage is not None:
        from parsl_optuna.study.search.export import export  # noqa: PLC0415

        rows = table.to_pandas().to_dict("records")
        root = Path(artifacts_dir or "artifacts")
        for name in export(rows, objectives_of(table), maximised_of(table), root, storage, leading_of(table)):
            click.echo(f"study    {name}")
