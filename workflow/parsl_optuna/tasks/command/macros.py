"""The macros of W&B commands. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from parsl_optuna.core.errors import SpecError, nearest

_MACRO = re.compile(r"\$\{([^}]*)\}")
_WORDS = ("env", "interpreter", "program", "args", "args_no_boolean_flags", "args_no_hyphens",
          "args_json", "args_json_file")  # fmt: skip
_LISTS = ("args", "args_no_boolean_flags", "args_no_hyphens")


def check(words: Sequence[str], where: str) -> None:
    """Raise `SpecError` for a macro that does not exist."""
    for word in words:
        for name in _MACRO.findall(word):
            if name not in _WORDS and not name.startswith("envvar:"):
                raise SpecError(f"{where}: unknown macro '${{{name}}}'; {nearest(name, _WORDS)}")


def expand(
    words: Sequence[str],
    params: Mapping[str, Any],
    *,
    interpreter: str,
    json_file: str,
    environment: Mapping[str, str],
) -> list[str]:
    """Fill in all macros.

    Args:
        words: The command.
        params: Parameters by name; mappings and lists are written as Python writes them, as W&B does.
        interpreter: What ``${interpreter}`` is.
        json_file: Path of a file that holds *params*.
        environment: For ``${envvar:NAME}``.

    Returns:
        Words; ``${args}`` and its like become one word per parameter.
    """
    lists = {
        "args": [f"--{name}={value}" for name, value in params.items()],
        "args_no_hyphens": [f"{name}={value}" for name, value in params.items()],
        "args_no_boolean_flags": [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in params.items()
            if value is not False
        ],
    }
    singles = {
        "env": "/usr/bin/env",
        "interpreter": interpreter,
        "args_json": json.dumps(params),
        "args_json_file": json_file,
        **{name: " ".join(found) for name, found in lists.items()},
    }

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        if name.startswith("envvar:"):
            return environment.get(name.removeprefix("envvar:"), "")
        return singles.get(name, match.group(0))

    found: list[str] = []
    for word in words:
        whole = _MACRO.fullmatch(word)
        if whole is not None and whole.group(1) in _LISTS:
            found += lists[whole.group(1)]
        else:
            found.append(_MACRO.sub(fill, word))
    return found
