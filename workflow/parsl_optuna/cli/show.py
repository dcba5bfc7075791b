"""``parsl-optuna show``: print everything known of a problem or trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from parsl_optuna.cli import options
from parsl_optuna.core.errors import SpecError
from parsl_optuna.store import document
from parsl_optuna.store.artifacts import ArtifactStore


@click.command("show")
@click.argument("identifier", metavar="ID")
@options.artifacts_dir
def command(identifier: str, artifacts_dir: str | None) -> None:
    """Print everything known of a problem (p_…) or trial (r_…), as JSON."""
    store = ArtifactStore(Path(artifacts_dir or "artifacts"))
    click.echo(json.dumps(_find(store, identifier), indent=2, ensure_ascii=False))


def _find(store: ArtifactStore, identifier: str) -> dict[str, Any]:
    if identifier.startswith("p_"):
        problem = store.problem(identifier)
        if problem is not None:
            return problem | {"reference": document.read(store.paths.reference(identifier))}
    for path in sorted(store.paths.runs.glob(f"*/*/{identifier}/manifest.json")):
        manifest = document.read(path)
        return {"manifest": manifest, "metrics": document.read(path.with_name("metrics.json"))}
    raise SpecError(
        f"'{identifier}': no such problem or trial in {store.paths.root}; see parsl-optuna status"
    )
