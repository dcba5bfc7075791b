"""The command line: parses, calls one library function, prints. Imports each command when it is used."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import click

from parsl_optuna import __version__
from parsl_optuna.core.errors import WorkflowError

_COMMANDS = {
    "run": "Tune every (problem, method) of a configuration (the default command).",
    "sweep": "Run a W&B sweep file.",
    "plan": "Say what would run and what is there already; starts nothing.",
    "status": "Count references and trials in the artifacts.",
    "estimate": "Estimate the LLC of a problem, with nothing to tune.",
    "analyze": "Analyse a results folder: effects, importances, pairs, curves.",
    "best": "Show the best hyperparameters of a finished or running study.",
    "show": "Print everything known of a problem or trial.",
    "trial": "Run one stored trial in the foreground.",
    "tasks": "List tasks, their methods and search spaces.",
    "collect": "Rebuild the table of trials from the artifacts alone.",
}


class _Commands(click.Group):
    """Loads a command's module only when it is asked for, so that ``--help`` stays instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        return importlib.import_module(f"parsl_optuna.cli.{cmd_name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS:
            from parsl_optuna.core.errors import nearest  # noqa: PLC0415

            ctx.fail(f"no command '{args[0]}'; {nearest(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version"}
        if args and args[0].startswith("-") and args[0] not in own:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="parsl-optuna")
def optuna_group() -> None:
    """Tune scientific code on a laptop or a cluster, with files as the only state.

    parsl-optuna --config FILE [OPTIONS] is short for parsl-optuna run --config FILE [OPTIONS].
    """


def main() -> None:
    """Run ``parsl-optuna``."""
    guarded(optuna_group, "parsl-optuna")


def llc_main() -> None:
    """Run ``parsl-llc``."""
    guarded(importlib.import_module("parsl_optuna.cli.llc").command, "parsl-llc")


def autoencoder_main() -> None:
    """Run ``parsl-autoencoder``."""
    guarded(importlib.import_module("parsl_optuna.cli.autoencoder").command, "parsl-autoencoder")


def guarded(command: click.Command, name: str) -> None:
    """Run a command; print a `WorkflowError` as one line per mistake and leave with 2."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a task may live in a file of the user's
    try:
        code: Any = command.main(prog_name=name, standalone_mode=False)
    except WorkflowError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        sys.exit(2)
    except click.UsageError as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what had ended is kept, the same command goes on", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
