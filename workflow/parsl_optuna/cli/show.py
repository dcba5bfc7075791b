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

_MOST_LINES = 20
"""Of each stream; the rest is in stdout.txt and stderr.txt, in the folder of the trial."""


@click.command("show")
@click.argument("identifier", metavar="ID")
@options.artifacts_dir
def command(identifier: str, artifacts_dir: str | None) -> None:
    """Print everything known of a problem (p_…) or trial (r_…), as JSON.

    Of a trial that is also which files it left, and the end of what it printed.
    """
    store = ArtifactStore(Path(artifacts_dir or "artifacts"))
    click.echo(json.dumps(_find(store, identifier), indent=2, ensure_ascii=False))


def _find(store: ArtifactStore, identifier: str) -> dict[str, Any]:
    if identifier.startswith("p_"):
        problem = store.problem(identifier)
        if problem is not None:
            return problem | {"reference": document.read(store.paths.reference(identifier))}
    for path in sorted(store.paths.runs.glob(f"*/*/{identifier}")):
        manifest = document.read(path / "manifest.json")
        if manifest is None:
            continue
        found = {"manifest": manifest, "metrics": document.read(path / "metrics.json")}
        return found | _left_by(path)
    raise SpecError(
        f"'{identifier}': no such problem or trial in {store.paths.root}; see parsl-optuna status"
    )


def _left_by(folder: Path) -> dict[str, Any]:
    """Return the files that a trial left, with their sizes in bytes, and the last lines that it printed."""
    files = {
        path.relative_to(folder).as_posix(): path.lstat().st_size
        for path in sorted((folder / "files").rglob("*"))
        if not path.is_dir()
    }
    found: dict[str, Any] = {"files": files}
    for stream in ("stdout", "stderr"):
        path = folder / f"{stream}.txt"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        found[stream] = lines[-_MOST_LINES:]
    return found
