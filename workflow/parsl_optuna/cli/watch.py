"""``parsl-optuna watch``: follow a run on a full screen: studies, queue, running trials, events."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from parsl_optuna.cli import options
from parsl_optuna.report import progress_file
from parsl_optuna.report.watch import Watched, screen
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.events import EventReader
from parsl_optuna.store.layout import Results

_POLL_SEC = 1.0
"""A person sees no more, and a shared file system bears it."""


@click.command("watch")
@options.artifacts_dir
@options.results_dir
def command(artifacts_dir: str | None, results_dir: str | None) -> None:
    """Show what the last command does that writes to a results folder, until Ctrl-C.

    It only reads events.jsonl and progress.json, so it works from any machine that sees the folder. Without
    a terminal it prints the state once.
    """
    store = ArtifactStore(Path(artifacts_dir or "artifacts"))
    labels: dict[str, str] = {}
    events = options.events(results_dir)
    reader, watched, console = EventReader(events), Watched(), Console()
    file = Results(events.parent).progress

    def look() -> None:
        for event in reader.new():
            watched.add(event)
        for pid in {one.pid for one in watched.trials.values()} | {pid for pid, _ in watched.counts}:
            problem = store.problem(pid) if pid and pid not in labels else None
            if problem is not None:
                labels[pid] = problem["label"]

    look()
    if not console.is_terminal:
        console.print(screen(watched, progress_file.read(file), labels, datetime.now(UTC), 40))
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(
                screen(watched, progress_file.read(file), labels, datetime.now(UTC), console.height),
                refresh=True,
            )
            time.sleep(_POLL_SEC)
            look()
