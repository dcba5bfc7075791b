"""The macros of W&B commands. Pure.

Source: behaviour of ``wandb.sdk.launch.sweeps.utils`` and of the agent of wandb 0.31.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from parsl_optuna.core.errors import SpecError, nearest

_MACRO = re.compile(r"\$\{([^}]*)\}")
_VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
_LISTS = ("args", "args_no_equals", "args_no_boolean_flags", "args_no_hyphens", "args_append_hydra",
          "args_override_hydra")  # fmt: skip
_WORDS = ("env", "interpreter", "program", "args_json", "args_json_file", *_LISTS)


def check(words: Sequence[str], where: str) -> None:
    """Raise `SpecError` for a word that is one macro, of no known name: W&B would drop it without a word."""
    for word in words:
        whole = _MACRO.fullmatch(_VARIABLE.sub("", word))
        if whole is not None and whole.group(1) not in _WORDS:
            name = whole.group(1)
            hint = "write the variable in capitals" if name.startswith("envvar:") else nearest(name, _WORDS)
            raise SpecError(f"{where}: unknown macro '${{{name}}}'; {hint}")


def macros_inside(words: Sequence[str]) -> list[str]:
    """Return the names of known macros that are only parts of words."""
    parts = (name for word in words if _MACRO.fullmatch(word) is None for name in _MACRO.findall(word))
    return [name for name in parts if name in _WORDS]


def expand(
    words: Sequence[str],
    params: Mapping[str, Any],
    *,
    interpreter: str,
    json_file: str,
    environment: Mapping[str, str],
    whole_words: bool = False,
) -> list[str]:
    """Fill in all macros.

    Args:
        words: The command.
        params: Parameters by name; mappings and lists are written as Python writes them, as W&B does.
        interpreter: What ``${interpreter}`` is.
        json_file: Path of a file that holds *params*.
        environment: For ``${envvar:NAME}``, which is its own name where the variable is not set.
        whole_words: Whether macros count only as whole words, as at W&B, ``${envvar:NAME}`` apart.

    Returns:
        Words; ``${args}`` and its like become one word per parameter, ``${args_no_equals}`` two.
    """
    lists = _lists(params)
    singles = {
        "env": "/usr/bin/env",
        "interpreter": interpreter,
        "args_json": json.dumps(params),
        "args_json_file": json_file,
        **{name: " ".join(found) for name, found in lists.items()},
    }
    found: list[str] = []
    for written in words:
        word = _VARIABLE.sub(lambda match: environment.get(match.group(1), match.group(1)), written)
        whole = _MACRO.fullmatch(word)
        if whole is not None and whole.group(1) in lists:
            found += lists[whole.group(1)]
        elif whole is not None or not whole_words:
            found.append(_MACRO.sub(lambda match: singles.get(match.group(1), match.group(0)), word))
        else:
            found.append(word)
    return found


def _lists(params: Mapping[str, Any]) -> dict[str, list[str]]:
    plain = [f"{name}={value}" for name, value in params.items()]
    return {
        "args": [f"--{word}" for word in plain],
        "args_no_hyphens": plain,
        "args_no_equals": [word for name, value in params.items() for word in (f"--{name}", str(value))],
        "args_no_boolean_flags": [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in params.items()
            if value is not False
        ],
        "args_append_hydra": [f"+{word}" for word in plain],
        "args_override_hydra": [f"++{word}" for word in plain],
    }
