"""Points that other studies have tried, from their tables. Reads files, writes nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.space import Scalar, Space
from parsl_optuna.core.spec import WarmStart

if TYPE_CHECKING:
    import pandas as pd


def read_points(
    entry: WarmStart, method: str, space: Space, where: str
) -> Iterator[tuple[dict[str, Scalar], float]]:
    """Yield the points of a table that lie in *space*, with their objective.

    Raises:
        SpecError: No such file, no such column, or not one point of the space in it.
    """
    if entry.method not in (None, method):
        return
    rows = _read(Path(entry.table), where)
    varying, found = space.varying, 0
    if entry.objective not in rows:
        raise SpecError(f"{where}.objective: {entry.table} has no column '{entry.objective}'; "
                        f"{nearest(entry.objective, rows.columns)}")  # fmt: skip
    if entry.method is None and "method" in rows:
        rows = rows[rows["method"] == method]
    for record in rows.itertuples(index=False):
        row = dict(zip(rows.columns, record, strict=True))
        params = json.loads(row["hyperparams_json"]) if "hyperparams_json" in row else row
        point = _point(params, varying)
        value = row[entry.objective]
        if varying.contains(point) and _is_finite(value):
            found += 1
            yield point, float(value)
    if len(rows) and not found:
        raise SpecError(f"{where}: {entry.table} holds no point of the search space of {method}")


def _read(path: Path, where: str) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415  a run without tables does not pay for it

    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except FileNotFoundError:
        raise SpecError(f"{where}.table: {path}: no such file") from None
    except (ValueError, OSError) as error:
        raise SpecError(f"{where}.table: {path}: neither CSV nor parquet: {error}") from error


def _point(params: Mapping[str, Any], space: Space) -> dict[str, Scalar]:
    """Return the parameters of *space* alone, as trials hold them: tables have whole numbers as floats."""
    return space.active(
        {name: one.stored(params[name]) for name, one in space.dimensions.items() if name in params}
    )


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
