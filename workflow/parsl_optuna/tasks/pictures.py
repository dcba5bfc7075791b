"""Arrays that a trial leaves for pictures, in ``pictures.npz`` of its folder.

The number of dimensions says what is drawn: one: bars; two: a line per column, or points if there are two
columns; three, ``(rows, columns, length)``: a table of lines; four, ``(rows, columns, height, width)``: a
table of images.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from parsl_optuna.store.atomic import write_bytes

if TYPE_CHECKING:
    import numpy as np

PICTURES = "pictures.npz"


def leave(folder: Path | None, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays for pictures; nothing where there is no folder.

    Args:
        folder: `Work.files`.
        arrays: By title, words joined by ``_``; after ``:_`` the names of lines, apart by ``,_``.
    """
    if folder is None:
        return
    import numpy as np  # noqa: PLC0415

    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / PICTURES, stream.getvalue())
