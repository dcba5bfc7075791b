"""``parsl-optuna sweep``: run a W&B sweep file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from parsl_optuna.cli import options
from parsl_optuna.cli.run import carry_out, report
from parsl_optuna.core.errors import WorkflowError
from parsl_optuna.core.load import assign, read_yaml, structure
from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.core.spec import SweepSpec
from parsl_optuna.report.live import duration
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.layout import Results
from parsl_optuna.study.plan.sweep.file import read_sweep, sources
from parsl_optuna.study.plan.sweep.plan import SweepPlan, plan_sweep
from parsl_optuna.study.plan.sweep.winners import Earlier, Winners

_TABLE = "sweep_runs"


@click.command("sweep")
@click.argument("file", type=click.Path(path_type=Path))
@options.backend
@click.option("--task", help="Task to run in place of the program.  [default: run the program]")
@click.option("--count", type=int, help="Runs at most.  [default: run_cap of the file]")
@click.option("--batch-size", type=int, help="Runs in flight per problem.  [default: 32]")
@click.option("--budget", type=float, help="Seconds per run.  [default: 36000]")
@click.option("--seed", type=int, help="Of random points and searches.  [default: 42]")
@click.option("--sampler", help="Sampler for method bayes.  [default: auto]")
@click.option("--objectives", help="Metrics to minimise besides the sweep's own, comma-separated.")
@click.option("--data", multiple=True, metavar="NAME=FILE",
              help="File of a data set that the sweep names; or a YAML file of such pairs.")  # fmt: skip
@click.option("--no-fold", is_flag=True, help="Run points that differ in parameters without effect only.")
@click.option("--dry-run", is_flag=True, help="Show what would run; start and write nothing.")
@options.assignments
@options.artifacts_dir
@options.results_dir
def command(
    file: Path,
    assignments: tuple[str, ...],
    local: bool,
    parsl_config: str | None,
    inline: bool,
    no_fold: bool,
    dry_run: bool,
    artifacts_dir: str | None,
    results_dir: str | None,
    objectives: str | None,
    data: tuple[str, ...],
    **given: Any,
) -> int | None:
    """Run a W&B sweep file: grid, random or bayes, of any program or of a task of this package.

    The program needs no account: what it passes to wandb.log is recorded locally. Running the same
    command again continues where the last one stopped.
    """
    spec = _spec(
        file, assignments, {**given, "objectives": objectives, "data": _data(data), "fold": not no_fold}
    )
    spec = options.with_folders(spec, artifacts_dir, results_dir or f"results/{file.stem}", parsl_config)
    sweep = read_sweep(file)
    winners = Winners({folder: _earlier(Path(folder)) for folder in sources(sweep)})
    bound = plan_sweep(sweep, spec, f"{file} $", winners)
    for line in (bound.head, *bound.notes):
        click.echo(line)
    if dry_run:
        for line in _forecast(bound, ArtifactStore(Path(spec.artifacts_dir))):
            click.echo(line)
        return None
    results = Results(Path(spec.results_dir), _TABLE)
    tell = partial(report, spec.artifacts_dir)
    return carry_out(spec, bound.plan, results, tell, local=local, inline=inline)


def _data(given: tuple[str, ...]) -> dict[str, Any]:
    """Return files by the name of their data set, of pairs and of files of pairs."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, path = text.partition("=")
        found |= {name: path} if equals else read_yaml(Path(text))
    return found


def _spec(file: Path, assignments: tuple[str, ...], given: Mapping[str, Any]) -> SweepSpec:
    """Return the options as a record; ``--set`` reaches its keys, those of ``cluster`` alone too."""
    data: dict[str, Any] = {"file": str(file)}
    names = {"budget": "budget_sec"}
    data |= {names.get(name, name): value for name, value in given.items() if value is not None}
    if given.get("objectives"):
        data["objectives"] = [name.strip() for name in given["objectives"].split(",")]
    cluster = {entry.name for entry in fields(ClusterSpec)}
    for text in assignments:
        assign(data, f"cluster.{text}" if text.partition("=")[0] in cluster else text)
    spec = structure(SweepSpec, data, "--set $")
    return replace(spec, file=str(file))


def _earlier(folder: Path) -> Earlier:
    """Return the rows of a sweep's table; none without a table."""
    from parsl_optuna.report import tables  # noqa: PLC0415

    try:
        found = tables.read(Results(folder, _TABLE).table)
    except WorkflowError:
        return Earlier(())
    rows = found.select(["pid", "problem", "state", "objective", "hyperparams_json"]).to_pylist()
    return Earlier(rows, is_maximised=tables.objectives_of(found)[0] in tables.maximised_of(found))


def _forecast(bound: SweepPlan, store: ArtifactStore) -> list[str]:
    """Return what would run and what it would cost, from the times of stored runs."""
    from parsl_optuna.study.forecast import forecast  # noqa: PLC0415

    entries = forecast(bound.plan, store)
    lines = [entry.text() for entry in entries]
    cached, missing = sum(entry.cached for entry in entries), sum(entry.missing for entry in entries)
    limit = duration(sum(entry.missing * entry.budget_sec for entry in entries))
    lines.append(f"{cached} there already, {missing} to run, at most {limit} of worker time")
    if cached and missing:
        mean = sum((entry.mean_sec or 0.0) * entry.cached for entry in entries) / cached
        lines.append(
            f"about {duration(missing * mean)} of worker time, as the {cached} took {mean:.3g} s each"
        )
    return lines
