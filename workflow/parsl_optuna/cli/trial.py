"""``parsl-optuna trial``: run one stored trial in the foreground, to find out why it fails."""

from __future__ import annotations

import json
from pathlib import Path

import click

from parsl_optuna.cli import options
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.records import Request


@click.command("trial")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--again", is_flag=True, help="Run it although it has an outcome; stores nothing, compares.")
@options.as_json
def command(manifest: Path, again: bool, as_json: bool) -> int:
    """Run the trial of a manifest.json in this process and print its outcome.

    A trial that has an outcome is not run again; --again runs it again and reports whether the numbers
    agree with the stored ones.
    """
    from parsl_optuna.worker import execute as worker  # noqa: PLC0415

    parts = manifest.resolve().parts
    if manifest.name != "manifest.json" or len(parts) < 6 or parts[-5] != "runs":
        raise SpecError(f"{manifest}: give a path like artifacts/runs/p_…/METHOD/r_…/manifest.json")
    root = str(Path(*parts[:-5]))
    pid, method, trial_id = parts[-4:-1]
    if again:
        outcome = worker.replay(root, pid, method, trial_id)
    else:
        outcome = worker.execute(Request(root, pid, method, trial_id))
    outcome = outcome["metrics"] | outcome  # metrics whose name is free also stand at top level, as on disk
    if as_json:
        click.echo(json.dumps(outcome, indent=2))
    else:
        for name in ("state", "reason", "agrees", "llc_hat", "se_hat", "objective", "runtime_sec"):
            if outcome.get(name) is not None:
                click.echo(f"{name:12} {outcome[name]}")
        if outcome.get("traceback"):
            click.echo(outcome["traceback"])
    return 0 if outcome["state"] == "ok" and outcome.get("agrees", True) else 1
