"""``parsl-optuna accept``: take the files of a problem or trial that were changed by hand as they are."""

from __future__ import annotations

from pathlib import Path

import click

from parsl_optuna.cli import options
from parsl_optuna.store.artifacts import ArtifactStore


@click.command("accept")
@click.argument("identifier", metavar="ID")
@options.artifacts_dir
def command(identifier: str, artifacts_dir: str | None) -> None:
    """Take the files of a problem (p_…) or trial (r_…) that were changed by hand as they are.

    Every file carries a digest, and one that was changed is refused. This checks that the changed file still
    is what its place promises, and writes a new digest and the time of acceptance into it. What an id is made
    of cannot be changed: that is another trial.
    """
    from parsl_optuna.store.accept import accept  # noqa: PLC0415

    accepted = accept(ArtifactStore(Path(artifacts_dir or "artifacts")), identifier)
    for path in accepted:
        click.echo(f"accepted {path}")
    if not accepted:
        click.echo(f"{identifier}: none of its files was changed")
