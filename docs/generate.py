"""Write the references of commands, configuration keys, columns and messages from the code: ``make docs``.

What a person reads about an option, a key or a column is written once, beside the code that uses it.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import click
from parsl_optuna.cli.main import commands
from parsl_optuna.core import resources, spec
from parsl_optuna.report.columns import AFTER_TASK, BEFORE_TASK, STRUCTS, Column

from docs.messages import message_reference

FOLDER = Path(__file__).parent
_NOTE = "Written by `make docs` from the code; a test compares the two.\n"
_WIDTH = 100

_CONFIGURATIONS = {
    "A tuning run: `parsl-optuna --config FILE`": spec.RunSpec,
    "Block `optuna`": spec.OptunaSpec,
    "An entry of `warm_start`": spec.WarmStart,
    "Block `limits`": resources.LimitsSpec,
    "Block `cluster`": resources.ClusterSpec,
    "A run with given samplers: `parsl-llc --config FILE`": spec.FixedSpec,
    "An entry of `samplers`": spec.SamplerSpec,
    "A W&B sweep: the keys of `parsl-optuna sweep --set KEY=VALUE`": spec.SweepSpec,
}


def command_reference() -> str:
    """Return the help of every command as Markdown."""
    named = {f"parsl-optuna {name}": name for name in commands()}
    named |= {"parsl-llc": "llc", "parsl-autoencoder": "autoencoder"}
    parts = [f"# Commands\n\n{_NOTE}"]
    for title, module in named.items():
        command = importlib.import_module(f"parsl_optuna.cli.{module}").command
        context = click.Context(command, info_name=title, max_content_width=_WIDTH, terminal_width=_WIDTH)
        parts.append(f"## {title}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def configuration_reference() -> str:
    """Return every key of the configuration files as Markdown tables."""
    parts = [f"# Configuration\n\n{_NOTE}"]
    for title, record in _CONFIGURATIONS.items():
        parts.append(f"## {title}\n\n{_first_paragraph(record)}\n")
        rows = [f"| `{name}` | {kind} | {default} | {text} |" for name, kind, default, text in _keys(record)]
        parts.append("\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _first_paragraph(record: type[Any]) -> str:
    return " ".join((inspect.getdoc(record) or "").split("\n\n")[0].split())


def _keys(record: type[Any]) -> Iterator[tuple[str, str, str, str]]:
    meanings = _attributes(record)
    hints = get_type_hints(record)
    for entry in dataclasses.fields(record):
        yield entry.name, _kind(hints[entry.name]), _default(entry), _cell(meanings[entry.name])


def _attributes(record: type[Any]) -> dict[str, str]:
    """Return what the docstring of a record says of its attributes."""
    block = (inspect.getdoc(record) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", block, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


_KINDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Any: "any",
    type(None): "null",
}


def _kind(hint: Any) -> str:
    """Return a type in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_kind(one) for one in arguments)
    if origin in (tuple, list):
        return f"list of: {_kind(arguments[0])}"
    if origin is dict:
        return "mapping"
    return _KINDS.get(hint, "block" if dataclasses.is_dataclass(hint) else str(hint))


def _default(entry: dataclasses.Field[Any]) -> str:
    if entry.default is not dataclasses.MISSING:
        return _cell(f"`{_plain(entry.default)}`")
    return "required" if entry.default_factory is dataclasses.MISSING else "empty"


def _plain(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def column_reference() -> str:
    """Return the columns of the table of trials."""
    lines = ["# Columns of the table of trials", "", _NOTE]
    lines += ["| column | type | meaning |", "|---|---|---|"]
    lines += [_column(one) for one in BEFORE_TASK]
    lines += ["| metrics that the task declares, its reference value | | see `parsl-optuna tasks` |"]
    lines += [_column(one) for one in AFTER_TASK]
    lines += ["| further objectives | float | By their names. |"]
    lines += [f"| {name} | struct | {_cell(text.replace('``', '`'))} |" for name, text in STRUCTS.items()]
    return "\n".join(lines) + "\n"


def _column(column: Column) -> str:
    return f"| {column.name} | {column.kind} | {_cell(column.meaning.replace('``', '`'))} |"


REFERENCES = {
    "columns.md": column_reference,
    "commands.md": command_reference,
    "configuration.md": configuration_reference,
    "messages.md": message_reference,
}


if __name__ == "__main__":
    for name, make in REFERENCES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")
