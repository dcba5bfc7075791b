"""``parsl-optuna analyze``: analyse a results folder: effects, importances, pairs, curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from parsl_optuna.api import session
from parsl_optuna.cli import options
from parsl_optuna.core.load import read_yaml
from parsl_optuna.store import document
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.events import EventReader, Kind
from parsl_optuna.store.layout import Results

_LEARN_NOTHING = ("random", "grid", "qmc", "brute_force")
"""Samplers whose proposals do not depend on earlier values."""


@click.command("analyze")
@click.argument("results", type=click.Path(path_type=Path))
@options.artifacts_dir
def command(results: Path, artifacts_dir: str | None) -> None:
    """Write tables, pictures and one page about the trials in a results folder.

    Effects with confidence intervals, importances, paired comparisons, failures, training curves: all
    on RESULTS/report.html, and as files in RESULTS/analysis.
    """
    from parsl_optuna.report import analysis  # noqa: PLC0415
    from parsl_optuna.report.interactive import analysed  # noqa: PLC0415
    from parsl_optuna.report.late import missing  # noqa: PLC0415
    from parsl_optuna.report.tables import table_in  # noqa: PLC0415

    table = table_in(results)
    store, place = ArtifactStore(Path(artifacts_dir or "artifacts")), Results(table.parent, table.stem)
    settings, events = _settings(table), EventReader(place.events).new()
    fidelity = settings.get("fidelity") or {}
    found = analysis.analyse(
        table,
        store,
        sampler_learns=_sampler_learns(settings, events),
        fidelity=fidelity.get("parameter"),
        chosen=(document.read(place.best) or {}).get("studies", ()),
    )
    written = analysed.write(found, place, store)
    for sentence in found.findings:
        click.echo(sentence)
    for line in missing(events, {str(one["trial_id"]) for one in found.trials}):
        session.warn(line)
    click.echo(f"report   {written}")
    click.echo(f"tables   {place.root / 'analysis'}")


def _settings(table: Path) -> Mapping[str, Any]:
    """Return the block ``optuna`` of the run beside a table; nothing where there is none."""
    path = table.with_name(f"{table.stem}_config.yaml")
    return (read_yaml(path).get("optuna") or {}) if path.is_file() else {}


def _sampler_learns(settings: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a sampler learned from trials, that of an earlier command too; yes where nothing says so."""
    sampler = settings.get("sampler")
    names = {sampler.get("name") if isinstance(sampler, dict) else sampler}
    names |= {event.get("sampler") for event in events if event["event"] == Kind.SAMPLER.value}
    return not names.issubset(_LEARN_NOTHING)
