"""Numbers of things in words."""

from __future__ import annotations


def noun(count: int, word: str) -> str:
    """Return a word as it stands behind a number: ``trial`` behind 1, ``trials`` behind others."""
    return word if count == 1 else f"{word}s"


def counted(count: int, word: str) -> str:
    """Return a number of things: ``1 trial``, ``3 trials``."""
    return f"{count} {noun(count, word)}"
