"""``parsl-optuna retry``: have failed trials run again, by state or by id."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click

from parsl_optuna.cli import options
from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.records import State
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.events import EventLog
from parsl_optuna.store.layout import Results
from parsl_optuna.store.lease import Lease


@click.command("retry")
@click.argument("trial_ids", metavar="[ID]...", nargs=-1)
@click.option(
    "--state",
    "states",
    metavar="STATES",
    help="States of the trials, comma-separated.  [default: failed,invalid,timeout,out_of_memory,lost]",
)
@click.option("--dry-run", is_flag=True, help="List the trials; change nothing.")
@options.artifacts_dir
@options.results_dir
@options.as_json
def command(
    trial_ids: tuple[str, ...],
    states: str | None,
    dry_run: bool,
    artifacts_dir: str | None,
    results_dir: str | None,
    as_json: bool,
) -> None:
    """Set the outcomes of failed trials aside, so that the next run of the same command starts them again.

    Give ids (r_…), or states, or neither for all that failed. Nothing is deleted: an outcome is kept as
    metrics.retired-N.json. A study that was stopped by its failures continues.
    """
    from parsl_optuna.study import retry  # noqa: PLC0415

    if trial_ids and states is not None:
        raise SpecError("give ids or --state, not both")
    wanted = retry.FAILED if states is None else _states(states)
    store = ArtifactStore(Path(artifacts_dir or "artifacts"))
    results = Results(Path(results_dir or "results"))
    failed = retry.find(store, wanted, trial_ids)
    if failed and not dry_run:
        with Lease(results.lease):  # a driver at work would not notice
            retry.retire(store, failed, EventLog(results.events))
    if as_json:
        rows = [
            {"trial_id": one.manifest.trial_id, "pid": one.manifest.pid, "method": one.manifest.method,
             "state": one.outcome.state.value, "reason": one.outcome.reason} for one in failed
        ]  # fmt: skip
        click.echo(json.dumps(rows, indent=2))
        return
    for one in failed:
        head = f"{one.manifest.trial_id}  {one.manifest.method:8}  {one.outcome.state.value:13}"
        click.echo(f"{head}  {one.outcome.reason or ''}")
    states_of = Counter(one.outcome.state.value for one in failed)
    counts = ", ".join(f"{count} {state}" for state, count in states_of.items())
    if not failed:
        click.echo(f"{store.paths.root}: no such trial")
    elif dry_run:
        click.echo(f"{counts} would run again")
    else:
        click.echo(f"{counts}: they run again with the command that asked for them")


def _states(text: str) -> list[State]:
    found = []
    for word in (one.strip() for one in text.split(",")):
        if word not in set(State):
            raise SpecError(f"--state: no state '{word}'; {nearest(word, State)}")
        found.append(State(word))
    return found
