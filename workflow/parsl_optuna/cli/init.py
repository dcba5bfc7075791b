"""``parsl-optuna init``: write a small project that runs at once."""

from __future__ import annotations

from pathlib import Path

import click

from parsl_optuna.core.errors import SpecError
from parsl_optuna.store.atomic import write_bytes

_STARTERS = Path(__file__).with_name("starters")

_COMMANDS = {"sweep": "parsl-optuna sweep sweep.yaml --local"}
"""Command that runs a project, by kind; all others: ``parsl-optuna --config study.yaml --local``."""


@click.command("init", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument(
    "kind", type=click.Choice(["function", "program", "sweep", "llc", "autoencoder"]), default="function"
)
@click.option(
    "--into",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder of the project.  [default: this one]",
)
def command(kind: str, folder: Path) -> None:
    """Write a commented configuration, and what it tunes, into a folder.

    KIND is what is tuned: a Python function (the default), a program, a W&B sweep, samplers of the local
    learning coefficient, or an autoencoder. Existing files are never replaced.
    """
    sources = sorted(path for path in (_STARTERS / kind).iterdir() if path.is_file())
    taken = [folder / path.name for path in sources if (folder / path.name).exists()]
    if taken:
        raise SpecError(f"{taken[0]}: is there already; choose another folder with --into FOLDER")
    for path in sources:
        write_bytes(folder / path.name, path.read_bytes(), replace=False)
        click.echo(f"wrote {folder / path.name}")
    prefix = "" if folder == Path() else f"cd {folder} && "
    click.echo(f"run   {prefix}{_COMMANDS.get(kind, 'parsl-optuna --config study.yaml --local')}")
