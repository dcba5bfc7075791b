"""A CSV of class observations: read, with every cell that is no percentage told by its line and column."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parsl_optuna.core.counted import counted
from parsl_optuna.core.errors import Mistakes, SpecError
from parsl_optuna.tasks.autoencoder.columns import COLUMNS

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
_LEAST_ROWS = 20
_MOST_TOLD = 5
"""So many cells are told; a file with one mistake in every row needs no more."""


def read_observations(path: Path, name: str) -> NDArray[np.float64]:
    """Return ``(n, 24)`` percentages, NaN where a cell is empty.

    Args:
        path: The file.
        name: What people call it.

    Raises:
        SpecError: It is no such table: all that is wrong, a line each.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SpecError(f"{name}: is not UTF-8 text; save it as CSV (UTF-8)") from None
    lines = csv.reader(text.splitlines())
    header = [cell.strip() for cell in next(lines, [])]
    places = _places(header, name)
    mistakes = Mistakes()
    rows = np.array(list(_rows(lines, header, places, name, mistakes)), dtype=float).reshape(-1, len(COLUMNS))
    if len(rows) < _LEAST_ROWS:
        mistakes.add(f"{name}: has {counted(len(rows), 'row')}, too few; at least {_LEAST_ROWS}")
    else:
        for column, values in zip(COLUMNS, rows.T, strict=True):
            if np.isnan(values).all():
                mistakes.add(f"{name}: column {column} is empty; fill it, with 0 where the code never occurs")
    mistakes.raise_any()
    return rows


def _places(header: Sequence[str], name: str) -> list[int]:
    """Return where the columns are."""
    missing = [column for column in COLUMNS if column not in header]
    if not missing:
        twice = [column for column in COLUMNS if header.count(column) > 1]
        if twice:
            raise SpecError(f"{name}: column {twice[0]} is there {header.count(twice[0])} times; keep one")
        return [header.index(column) for column in COLUMNS]
    for sign, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if any(sign in cell for cell in header):
            raise SpecError(f"{name}: its columns are separated by {word}; save it with commas between them")
    listed = ", ".join(missing[:_MOST_TOLD]) + (" …" if len(missing) > _MOST_TOLD else "")
    raise SpecError(f"{name}: {len(missing)} of the {len(COLUMNS)} COPUS columns are missing: {listed}")


def _rows(
    lines: Iterator[list[str]], header: Sequence[str], places: list[int], name: str, mistakes: Mistakes
) -> Iterator[list[float]]:
    told = 0
    for line, cells in enumerate(lines, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            mistakes.add(
                f"{name}: line {line} has {len(cells)} cells for {len(header)} columns; "
                "a number with a decimal comma takes two"
            )
            told += 1
        else:
            values = []
            for column, place in zip(COLUMNS, places, strict=True):
                value, wrong = _value(cells[place].strip())
                values.append(value)
                if wrong is not None:
                    mistakes.add(f"{name}: line {line}, column {column}: {wrong}")
                    told += 1
            yield values
        if told >= _MOST_TOLD:
            mistakes.add(f"{name}: no more is looked at after line {line}")
            mistakes.raise_any()


def _value(cell: str) -> tuple[float, str | None]:
    """Return a cell's percentage, and what is wrong with it."""
    if cell.lower() in _MISSING:
        return math.nan, None
    try:
        value = float(cell)
    except ValueError:
        return math.nan, _why_no_number(cell)
    if not math.isfinite(value):
        return math.nan, f"'{cell}' is not finite; leave the cell empty where nothing is known"
    if not 0 <= value <= 100:
        return math.nan, f"{cell} is no percentage, from 0 to 100"
    return value, None


def _why_no_number(cell: str) -> str:
    if re.fullmatch(r"[+-]?\d+,\d+", cell):
        return f"'{cell}' has a decimal comma; write {cell.replace(',', '.')}"
    if re.fullmatch(r"[+-]?[\d.]+\s*%", cell):
        return f"'{cell}' has a percent sign; write {cell.rstrip('% ')}"
    return f"'{cell}' is no number; leave the cell empty where nothing is known"
