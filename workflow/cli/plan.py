"""``parsl-optuna plan``: what would run, what is there already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from workflow.cli import options
from workflow.report.live import duration
from workflow.store.store import ArtifactStore
from workflow.study.plan import load_run, plan_run


@click.command("plan")
@options.config
@options.assignments
@options.budgets
@options.artifacts_dir
@options.results_dir
@options.as_json
def command(
    config: Path,
    assignments: tuple[str, ...],
    artifacts_dir: str | None,
    results_dir: str | None,
    as_json: bool,
    **budgets: Any,
) -> None:
    """Say what would run and what is there already; starts nothing and writes nothing."""
    from workflow.study.forecast import forecast  # noqa: PLC0415

    spec = options.with_budgets(load_run(config, assignments), **budgets)
    spec = options.with_folders(spec, artifacts_dir, results_dir)
    plan = plan_run(spec, str(config))
    lines = forecast(plan, ArtifactStore(Path(spec.artifacts_dir)))
    if as_json:
        click.echo(json.dumps([line.to_json() for line in lines], indent=2))
        return
    for line in lines:
        click.echo(line.text())
    cached, missing = sum(line.cached for line in lines), sum(line.missing for line in lines)
    limit = sum(line.missing * line.budget_sec for line in lines)
    click.echo(f"{cached} there already, {missing} to run, at most {duration(limit)} of worker time")
