"""``parsl-optuna plan``: show what would run and what is stored already, without starting it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parsl_optuna.api import session
from parsl_optuna.cli import options
from parsl_optuna.core.counted import counted, noun
from parsl_optuna.report.live import duration
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.plan.tuning import load_run, plan_run

if TYPE_CHECKING:
    from parsl_optuna.study.simulation import Prediction

_DRIVER_SHARE = 0.5
"""A driver that is busy for more than this share of a run is what holds it up."""


@click.command("plan")
@options.config
@options.assignments
@options.budgets
@options.artifacts_dir
@options.results_dir
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    multiple=True,
    help="Also predict makespan, utilisation and hours for this number of workers; may be repeated.",
)
@options.as_json
def command(
    config: Path,
    assignments: tuple[str, ...],
    artifacts_dir: str | None,
    results_dir: str | None,
    workers: tuple[int, ...],
    as_json: bool,
    **budgets: Any,
) -> None:
    """Show what would run and what is stored already; start and write nothing.

    With --workers, the run's own scheduler is simulated, with the trial times measured so far; a trial
    without a measured time takes its whole budget.
    """
    from parsl_optuna.study.forecast import forecast  # noqa: PLC0415

    spec = options.with_budgets(load_run(config, assignments), **budgets)
    spec = options.with_folders(spec, artifacts_dir, results_dir)
    plan = plan_run(spec, str(config))
    for note in plan.notes:
        session.warn(note)
    store = ArtifactStore(Path(spec.artifacts_dir))
    lines = forecast(plan, store)
    predictions = []
    if workers:
        from parsl_optuna.study.simulation import predict  # noqa: PLC0415  the search, which takes a second to load

        predictions = predict(plan, store, workers)
    if as_json:
        data: Any = [line.to_json() for line in lines]
        if predictions:
            data = {"lines": data, "predictions": [one.to_json() for one in predictions]}
        click.echo(json.dumps(data, indent=2))
        return
    for line in lines:
        click.echo(line.text())
    cached, missing = sum(line.cached for line in lines), sum(line.missing for line in lines)
    limit = sum(line.missing * line.budget_sec for line in lines)
    click.echo(f"{cached} there already, {missing} to run, at most {duration(limit)} of worker time")
    for one in predictions:
        click.echo(_sentence(one, spec.cluster.workers_per_node))


def _sentence(one: Prediction, per_node: int | None) -> str:
    """Return a prediction in words."""
    hours = f"{one.worker_hours:,.2f} worker hours"
    if per_node is not None:
        nodes = math.ceil(one.workers / per_node)
        hours += f", {nodes * one.makespan_sec / 3600:,.2f} node hours on {counted(nodes, 'node')}"
    workers = f"{one.workers:6,} {noun(one.workers, 'worker')}"
    text = f"{workers}: {duration(one.makespan_sec)}, {one.utilisation:.0%} busy, {hours}"
    text += f" ({one.measured:.0%} of the times measured, the rest budgets)"
    if one.driver_sec > _DRIVER_SHARE * one.makespan_sec:
        text += (
            f"; the driver alone needs {duration(one.driver_sec)}: sampler 'random' or 'qmc' proposes faster"
        )
    elif one.most_in_flight < one.workers:
        text += f"; at most {one.most_in_flight:,} in flight: raise batch_size or take fewer workers"
    return text
