"""The words of a command, those inside of a text for a shell too: which of them may name files. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePath

_PROGRAMS = (".py", ".sh", ".bash", ".zsh", ".r", ".jl", ".m", ".pl", ".lua")
_WRITTEN = (*_PROGRAMS, ".yaml", ".yml", ".toml", ".ini", ".cfg")
"""What people write. Other names in a text for a shell may be those of files to which it writes."""


def split(command: Sequence[str]) -> list[str]:
    """Return the words of a command, and behind each that is a text for a shell the words of that text."""
    return [part for word in command for part in (word, *_inside(word))]


def inputs(command: Sequence[str]) -> list[str]:
    """Return what may name a file on whose content the result of a command depends."""
    found: dict[str, None] = {}
    for word in command:
        found |= dict.fromkeys((word, _value(word)))
        inside = (_value(part) for part in _inside(word))
        found |= dict.fromkeys(part for part in inside if PurePath(part).suffix.lower() in _WRITTEN)
    return [name for name in found if name and not name.startswith(("-", "/", "$"))]


def _value(word: str) -> str:
    """Return what an option such as ``--config=FILE`` is given, or the whole word."""
    return word.rpartition("=")[2]


def _inside(word: str) -> list[str]:
    """Return the words of a text for a shell, as far as its quotes are closed; none of a single word."""
    if not any(map(str.isspace, word)):
        return []
    try:
        lexer = shlex.shlex(word, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        return list(lexer)
    except ValueError:
        return word.split()
