"""``parsl-optuna submit``: run a command as a small job that submits itself again until it is done."""

from __future__ import annotations

from pathlib import Path

import click

from parsl_optuna.core.resources import ClusterSpec


@click.command("submit", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--on", type=click.Choice(["slurm", "pbs"]), required=True, help="Scheduler of the driver's job."
)
@click.option("--walltime", default="24:00:00", show_default=True, help="Of the driver's job, HH:MM:SS.")
@click.option(
    "--stop", type=int, default=600, show_default=True, help="Seconds before it that nothing more starts."
)
@click.option("--partition", help="Partition or queue of the driver's job.")
@click.option("--account", help="Account that is charged.")
@click.option("--qos", help="Quality of service (SLURM).")
@click.option("--memory-gb", type=int, default=4, show_default=True, help="Memory of the driver's job.")
@click.option("--cores", type=int, default=1, show_default=True, help="Cores of the driver's job.")
@click.option("--option", "scheduler_options", multiple=True, help="One more option of the scheduler.")
@click.option("--init", "worker_init", default="", help="Shell lines before the command starts.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path("submitted"), help="For its script and output."
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, required=True)
def command(
    on: str,
    stop: int,
    words: tuple[str, ...],
    folder: Path,
    scheduler_options: tuple[str, ...],
    **asked: object,
) -> None:
    """Run a command as a small job that submits itself again before its walltime, until it is done.

    For sites that end long processes on login nodes: everything after the options is a command of this
    program, such as: run --config FILE --parsl-config slurm. Its trials run in jobs of their own.
    """
    from parsl_optuna.execution.driver_job import submit  # noqa: PLC0415  imports Parsl

    cluster = ClusterSpec(options=scheduler_options, **asked)  # type: ignore[arg-type]
    job_id, output = submit(on, cluster, stop, words, folder)
    click.echo(f"job     {job_id}")
    click.echo(f"output  {output}")
