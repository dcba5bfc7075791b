"""``parsl-optuna status``: count references and trials in the artifacts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click

from parsl_optuna.cli import options
from parsl_optuna.core.errors import CorruptArtifact
from parsl_optuna.store import document
from parsl_optuna.store.artifacts import ArtifactStore


@click.command("status")
@options.artifacts_dir
@options.as_json
def command(artifacts_dir: str | None, as_json: bool) -> None:
    """Count references and trials in the artifacts, by problem, method and state."""
    store = ArtifactStore(Path(artifacts_dir or "artifacts"))
    lines = [line for pid in store.problem_ids() for line in _problem(store, pid)]
    if as_json:
        click.echo(json.dumps(lines, indent=2))
        return
    if not lines:
        click.echo(f"{store.paths.root}: no problems yet")
    for line in lines:
        states = ", ".join(f"{count} {state}" for state, count in sorted(line["states"].items()))
        states = states or "no trials yet"
        click.echo(f"{line['pid']}  {line['problem']:32}  {line['method']:6}  {states}")


def _problem(store: ArtifactStore, pid: str) -> list[dict]:
    problem = store.problem(pid)
    if problem is None:
        return []
    head, lines = {"pid": pid, "problem": problem["label"]}, []
    reference = document.read(store.paths.reference(pid))
    if reference is not None:
        lines.append({**head, "method": "", "states": {f"reference {reference.get('status')}": 1}})
    for method in store.methods(pid):
        folders = [store.paths.trials(pid, method) / trial_id for trial_id in store.trial_ids(pid, method)]
        counts = Counter(_state(folder) for folder in folders if not _is_copy(folder, pid, method))
        if counts:
            lines.append({**head, "method": method, "states": dict(counts)})
    return lines or [{**head, "method": "", "states": {}}]


def _is_copy(folder: Path, pid: str, method: str) -> bool:
    """Whether a trial of another problem or method lies here, in a copy of its folder."""
    try:
        manifest = document.read(folder / "manifest.json") or {}
    except CorruptArtifact:
        return False
    return (manifest.get("pid", pid), manifest.get("method", method)) != (pid, method)


def _state(folder: Path) -> str:
    if not (folder / "manifest.json").exists():
        return "empty"
    try:
        metrics = document.read(folder / "metrics.json")
    except CorruptArtifact:
        return "corrupt"
    return "unfinished" if metrics is None else str(metrics.get("state"))
