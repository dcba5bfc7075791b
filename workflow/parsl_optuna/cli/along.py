"""The part of ``estimate`` that takes a folder of checkpoints: trials on workers, a table and a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from parsl_optuna.api import session
from parsl_optuna.api.along import Along, plan_along, table_of
from parsl_optuna.cli.run import carry_out
from parsl_optuna.core.spec import FolderSpec
from parsl_optuna.store.atomic import strict, write_bytes
from parsl_optuna.store.layout import Results


def estimate(
    given: Mapping[str, Any],
    params: Mapping[str, Any],
    *,
    inline: bool,
    parsl_config: str | None,
    as_json: bool,
) -> int:
    """Estimate the LLC at every checkpoint of a folder.

    Args:
        given: Options of the command.
        params: Settings of every trial.
        inline: Whether ``--inline`` is given.
        parsl_config: Parsl's configuration; None, without *inline*, means a worker per core.
        as_json: Whether to print JSON.

    Returns:
        The exit code: 0 if every status is ok.
    """
    along = plan_along(
        Path(given["checkpoints"]), given["model"], params, given["budget"], int(given["seed"])
    )
    results = Results(Path(given["results_dir"]), "llc_along_training")
    spec = FolderSpec({**given, **params}, given["artifacts_dir"], given["results_dir"], parsl_config)
    trusted: list[bool] = []
    report = partial(_report, along, trusted, as_json=as_json)
    local = not inline and parsl_config is None
    code = carry_out(spec, along.plan, results, report, local=local, inline=inline)
    return code if code else 0 if all(trusted) and trusted else 1


def _report(
    along: Along, trusted: list[bool], plan: Any, result: Any, results: Results, *, as_json: bool
) -> None:
    del plan
    from parsl_optuna.report.plots import series_picture  # noqa: PLC0415

    table = table_of(along, result)
    trusted += (table["status"] == "ok").tolist()
    picture = results.root / "llc_along_training.png"
    estimated = table.dropna(subset="llc")
    if len(estimated):
        write_bytes(picture, series_picture(estimated, "checkpoint", "loss"))
    for reason in result.failures.values():
        session.warn(reason)
    if as_json:
        click.echo(json.dumps(strict(table.to_dict("records")), indent=2))
        return
    for row in table.to_dict("records"):
        click.echo(_line(row))
    click.echo(f"{len(table)} checkpoints, {result.n_started} run by this command")
    click.echo(f"table    {results.table}")
    if len(estimated):
        click.echo(f"picture  {picture}")


def _line(row: Mapping[Any, Any]) -> str:
    reason = f": {row['reason']}" if isinstance(row["reason"], str) else ""
    if math.isnan(row["llc"]):
        return f"{row['checkpoint']}: {row['status']}{reason}"
    error = "" if math.isnan(row["se"]) else f" ± {row['se']:.2g}"
    return (
        f"{row['checkpoint']}: loss {row['loss']:.4g}, LLC {row['llc']:.5g}{error} ({row['status']}{reason})"
    )
