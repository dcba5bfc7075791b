"""The command line: parses, calls one library function, prints. Imports each command when it is used."""

from __future__ import annotations

import errno
import functools
import importlib
import re
import sys
from pathlib import Path
from typing import Any, TypeGuard

import click

from parsl_optuna import __version__
from parsl_optuna.core.errors import WorkflowError
from parsl_optuna.store.atomic import DISK_FAULTS

_OF_FILES = DISK_FAULTS | {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG}

_FIRST_LINE = re.compile(r'"""``parsl-optuna ([a-z]+)``: (.+)$')
"""How the file of a command begins: its name, and what ``--help`` says of it."""


@functools.cache
def commands() -> dict[str, str]:
    """Return every command with its line of help, ``run`` first.

    A command is a file of this folder that begins with its name and defines ``command``. Only the first
    line of a file is read, so that ``--help`` imports none of them.
    """
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        with path.open(encoding="utf-8") as stream:
            match = _FIRST_LINE.match(stream.readline())
        if match:
            text = match[2].removesuffix('"""').rstrip(".")
            found[match[1]] = f"{text[0].upper()}{text[1:]}."
    return {"run": found.pop("run"), **found}


class _Commands(click.Group):
    """Loads a command's module only when it is asked for, so that ``--help`` stays instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in commands():
            return None
        return importlib.import_module(f"parsl_optuna.cli.{cmd_name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in commands():
            from parsl_optuna.core.errors import nearest  # noqa: PLC0415

            ctx.fail(f"no command '{args[0]}'; {nearest(args[0], commands())}")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version"}
        if args and args[0].startswith("-") and args[0] not in own:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(commands().items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="parsl-optuna")
def optuna_group() -> None:
    """Tune scientific code on a laptop or a cluster, with files as the only state.

    parsl-optuna --config FILE [OPTIONS] is short for parsl-optuna run --config FILE [OPTIONS].

    Completion with the tab key, in bash (for zsh, zsh_source; for fish, fish_source):

    \b
        eval "$(_PARSL_OPTUNA_COMPLETE=bash_source parsl-optuna)"
    """  # noqa: D301  click reads the control character


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
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except (Exception, KeyboardInterrupt) as error:
        if not _is_interrupt(error):
            if not _is_of_files(error):
                raise
            click.echo(f"error: {error.filename}: {error.strerror}; check the folder and the disk", err=True)
            sys.exit(2)
        click.echo("interrupted; finished trials are kept, the same command continues", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _is_of_files(error: BaseException) -> TypeGuard[OSError]:
    """Tell whether an exception is what a file system refuses: no fault of this program's."""
    return isinstance(error, OSError) and error.filename is not None and error.errno in _OF_FILES


def _is_interrupt(error: BaseException | None) -> bool:
    """Tell whether an exception is Ctrl-C, or what a library made of it, as an import that was cut short."""
    while error is not None:
        if isinstance(error, (click.Abort, KeyboardInterrupt)):
            return True
        error = error.__cause__ or error.__context__
    return False
