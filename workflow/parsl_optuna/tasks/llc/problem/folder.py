"""A folder of checkpoints: which files they are, in which order, and what they are called. No torch."""

from __future__ import annotations

import re
from pathlib import Path

from parsl_optuna.core.errors import SpecError

_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")

Label = str | int | float


def files(folder: Path) -> list[tuple[Label, Path]]:
    """Return label and path of every file of `torch.save` in a folder, by the numbers in their names.

    Labels are the last numbers in the names, or the names where these are not all different.

    Raises:
        SpecError: No folder, or no such file in it.
    """
    if not folder.is_dir():
        raise SpecError(f"checkpoints: {folder} is not a folder")
    found = [path for path in folder.iterdir() if path.suffix in _SUFFIXES]
    if not found:
        raise SpecError(f"checkpoints: no file {', '.join('*' + suffix for suffix in _SUFFIXES)} in {folder}")
    numbers = {path: [int(digits) for digits in re.findall(r"\d+", path.stem)] for path in found}
    found.sort(key=lambda path: (numbers[path], path.name))
    last = {path: numbers[path][-1] if numbers[path] else None for path in found}
    if None in last.values() or len(set(last.values())) < len(found):
        return [(path.stem, path) for path in found]
    return [(number, path) for path, number in last.items() if number is not None]
