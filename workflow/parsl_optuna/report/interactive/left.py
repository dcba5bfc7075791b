"""What trials left to look at: PNG files, and arrays in ``pictures.npz``."""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parsl_optuna.report import plots
from parsl_optuna.store.layout import Artifacts
from parsl_optuna.tasks.pictures import PICTURES

_MOST_PICTURES = 24
_PICTURE_BYTES = 300_000
"""Of one picture: a page with several still opens at once."""

_MOST_LINES, _MOST_POINTS = 4, 150
"""Of an array whose lines are shown on a click: the page holds those of hundreds of trials."""

_DIGITS = 4
"""A line's height on a screen is some hundred pixels."""


def pictures_of(store: Artifacts, trials: Iterable[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, str]]:
    """Return titles and data URIs of what trials left: their PNG files, and what their arrays look like.

    Args:
        store: Where the files are.
        trials: What to call a trial, and its ``pid``, ``method`` and ``trial_id``.
    """
    found: list[tuple[str, str]] = []
    for name, trial in trials:
        folder = store.files(trial["pid"], trial["method"], trial["trial_id"])
        for path in sorted(folder.rglob("*.png")):
            if path.stat().st_size <= _PICTURE_BYTES:
                found.append((f"{name}: {path.relative_to(folder)}", _uri(path.read_bytes())))
        for title, values in _arrays(folder / PICTURES).items():
            content = plots.array_picture(values, title)
            if len(content) <= _PICTURE_BYTES:
                found.append((f"{name}: {title.replace('_', ' ')}", _uri(content)))
    return found[:_MOST_PICTURES]


def lines_of(
    store: Artifacts, trials: Iterable[Mapping[str, Any]]
) -> dict[str, dict[str, list[list[float]]]]:
    """Return the lines that trials left, by trial id and name: a few of each array, thinned.

    Args:
        store: Where the files are.
        trials: ``pid``, ``method`` and ``trial_id`` of each.
    """
    found = {}
    for trial in trials:
        folder = store.files(trial["pid"], trial["method"], trial["trial_id"])
        arrays = {name: one for name, one in _arrays(folder / PICTURES).items() if plots.is_lines(one)}
        if arrays:
            found[trial["trial_id"]] = {name: _thinned(one) for name, one in arrays.items()}
    return found


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file; none where it is missing or no such file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if np.issubdtype(file[name].dtype, np.number)}
    except (OSError, ValueError, zipfile.BadZipFile):
        return {}


def _thinned(values: np.ndarray) -> list[list[float]]:
    every = -(-len(values) // _MOST_POINTS)
    lines = values.reshape(len(values), -1)[::every, :_MOST_LINES].T.astype(float)
    return [[float(f"{value:.{_DIGITS}g}") for value in line] for line in lines if np.isfinite(line).all()]


def _uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
