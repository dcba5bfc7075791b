"""``parsl-optuna analyze``: analyse a results folder: effects, importances, pairs, curves."""

from __future__ import annotations

from pathlib import Path

import click

from parsl_optuna.cli import options
from parsl_optuna.core.errors import SpecError
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.layout import Results

_TABLES = ("optuna_trials", "sweep_runs", "llc_runs")
_MOST_PARAMETERS = 12


@click.command("analyze")
@click.argument("results", type=click.Path(path_type=Path))
@options.artifacts_dir
def command(results: Path, artifacts_dir: str | None) -> None:
    """Write tables, pictures and one page about the trials in a results folder.

    Effects with confidence intervals, importances, paired comparisons, failures, training curves; to
    RESULTS/analysis.
    """
    from parsl_optuna.report import page as analysis  # noqa: PLC0415
    from parsl_optuna.report import plots  # noqa: PLC0415
    from parsl_optuna.report.effects import varied  # noqa: PLC0415

    tables = [Results(results, name).table for name in _TABLES]
    table = next((path for path in tables if path.is_file()), None)
    if table is None:
        raise SpecError(f"{results}: no table of trials there; give the --results-dir of a run")
    found = analysis.analyse(table, ArtifactStore(Path(artifacts_dir or "artifacts")))
    pictures = {}
    names = varied(found.rows)[:_MOST_PARAMETERS]
    if names:
        pictures["objective_by_hyperparameter"] = plots.effect_pictures(found.rows, names)
    ranked = found.tables["importances"]
    if not ranked.empty:
        first = ranked[ranked["metric"] == "objective"].groupby("parameter")["share"].mean().nlargest(2)
        if len(first) == 2:
            a, b = (f"hp_{name}" for name in first.index)
            pictures["interaction"] = plots.interaction(found.rows, a, b)
    for metric, by_study in found.curves.items():
        pictures[f"curves_of_{metric.replace('/', '_')}"] = plots.curves(by_study, metric)
    page = analysis.write(found, pictures, results / "analysis")
    click.echo(f"{len(found.rows)} trials")
    click.echo(f"page     {page}")
    click.echo(f"summary  {page.with_name('summary.md')}")
