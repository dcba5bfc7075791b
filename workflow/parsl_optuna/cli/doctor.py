"""``parsl-optuna doctor``: check the installation, the folders and the workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parsl_optuna.cli import options

if TYPE_CHECKING:
    from parsl_optuna.api.doctor import Finding


@click.command("doctor", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--parsl-config", type=str, help="local, slurm, pbs or a Parsl file: start a worker there, too."
)
@options.assignments
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for a worker.")
@options.artifacts_dir
@options.results_dir
@options.as_json
def command(
    parsl_config: str | None,
    assignments: tuple[str, ...],
    timeout: float,
    artifacts_dir: str | None,
    results_dir: str | None,
    as_json: bool,
) -> int:
    """Check Python, packages, scheduler, folders, and what a worker sees; say what to do.

    Exits with 1 if something is wrong. --set takes keys of the block cluster, e.g. --set partition=cpu.
    """
    findings: list[Finding] = []
    for finding in _findings(parsl_config, assignments, timeout, artifacts_dir, results_dir):
        findings.append(finding)
        if not as_json:
            click.echo(f"{'ok  ' if finding.is_ok else 'FAIL'}  {finding.name:14}  {finding.detail}")
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    return 0 if all(finding.is_ok for finding in findings) else 1


def _findings(
    parsl_config: str | None,
    assignments: tuple[str, ...],
    timeout: float,
    artifacts_dir: str | None,
    results_dir: str | None,
) -> Iterator[Finding]:
    from parsl_optuna.api import doctor  # noqa: PLC0415
    from parsl_optuna.core.load import assign, structure  # noqa: PLC0415
    from parsl_optuna.core.resources import ClusterSpec  # noqa: PLC0415

    given: dict[str, Any] = {}
    for text in assignments:
        assign(given, text)
    cluster = structure(ClusterSpec, given, "--set")
    artifacts, results = Path(artifacts_dir or "artifacts"), Path(results_dir or "results")
    yield from doctor.installation()
    for path, option in ((artifacts, "--artifacts-dir"), (results, "--results-dir")):
        yield doctor.folder(path, f"choose another {option}")
    if parsl_config is not None:
        yield doctor.workers(doctor.parsl_executor(parsl_config, cluster, results), artifacts, timeout)
