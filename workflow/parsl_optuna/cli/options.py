"""Options and small steps that several commands share."""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.spec import FixedSpec, RunSpec, SweepSpec
from parsl_optuna.store.events import set_aside
from parsl_optuna.store.layout import Results

F = TypeVar("F", bound=Callable[..., Any])
AnySpec = TypeVar("AnySpec", RunSpec, FixedSpec, SweepSpec)

config = click.option(
    "--config", "config", type=click.Path(path_type=Path), required=True, help="YAML configuration."
)
artifacts_dir = click.option(
    "--artifacts-dir", type=str, help="Where trials and references are kept.  [default: artifacts]"
)
results_dir = click.option("--results-dir", type=str, help="Where tables are written.  [default: results]")
assignments = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set any key of the file, e.g. optuna.seed=7; keys of 'cluster' may stand alone.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def budgets(function: F) -> F:
    """Add the options that override the block ``optuna`` of a configuration."""
    for option in (
        click.option("--method-budget", type=float, help="Seconds per trial."),
        click.option("--hmc-budget", type=float, help="Seconds per reference."),
        click.option("--batch-size", type=int, help="Trials in flight per (problem, method)."),
        click.option("--max-trials", type=int, help="Trials per (problem, method)."),
    ):
        function = option(function)
    return function


def _log_to_stderr(ctx: click.Context, param: click.Parameter, verbose: bool) -> None:
    """Have the package's loggers, the record of events among them, write to stderr."""
    del ctx, param
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger = logging.getLogger("parsl_optuna")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def backend(function: F) -> F:
    """Add the options that choose where trials run."""
    for option in (
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            expose_value=False,
            callback=_log_to_stderr,
            help="Tell on stderr what happens, as parsl-optuna log shows it.",
        ),
        click.option("--inline", is_flag=True, help="Run in this process, one by one."),
        click.option(
            "--parsl-config", type=str, help="local, slurm, pbs, or a Python file that defines 'config'."
        ),
        click.option("--local", is_flag=True, help="One worker process per core of this machine."),
    ):
        function = option(function)
    return function


def with_budgets(spec: RunSpec, **options: float | None) -> RunSpec:
    """Return *spec* with the given options of `budgets` in place of the file's values."""
    names = {
        "max_trials": "max_trials",
        "batch_size": "batch_size",
        "hmc_budget": "hmc_budget_sec",
        "method_budget": "method_budget_sec",
    }
    changes: dict[str, Any] = {names[name]: value for name, value in options.items() if value is not None}
    return replace(spec, optuna=replace(spec.optuna, **changes))


def with_folders(
    spec: AnySpec, artifacts: str | None, results: str | None, parsl_config: str | None = None
) -> AnySpec:
    """Return *spec* with the given folders and Parsl file in place of the configured ones."""
    changes = {"artifacts_dir": artifacts, "results_dir": results, "parsl_config": parsl_config}
    return replace(spec, **{name: value for name, value in changes.items() if value is not None})


def events(results_dir: str | None, *, may_come_later: bool = False) -> Path:
    """Return the record of events of a results folder.

    Raises:
        SpecError: There is none, and it may not come later.
        OSError: It cannot be read.
    """
    path = Results(Path(results_dir or "results")).events
    with contextlib.suppress(FileNotFoundError):
        path.open("rb").close()
    if not may_come_later and not path.exists() and not set_aside(path).exists():
        raise SpecError(f"{path}: no such file; run parsl-optuna first, or give --results-dir")
    return path


def folders(artifacts: str, results: str) -> str:
    """Return the options that have another command use the same folders; none for those of every command."""
    given = (("--artifacts-dir", artifacts, "artifacts"), ("--results-dir", results, "results"))
    return "".join(
        f" {option} {shlex.quote(folder)}"
        for option, folder, default in given
        if Path(folder) != Path(default)
    )
