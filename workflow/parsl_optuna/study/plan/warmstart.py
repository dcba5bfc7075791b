"""Points that other studies have tried, from their tables. Reads files, writes nothing."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from parsl_optuna.core.constraint import Constraint
from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.space import Scalar, Space
from parsl_optuna.core.spec import WarmStart

if TYPE_CHECKING:
    import pandas as pd


class Learned(NamedTuple):
    """A point that was tried elsewhere.

    Attributes:
        point: Its values.
        value: Its first objective, as people see it.
        violations: By how much it misses each constraint, by its text.
    """

    point: Mapping[str, Scalar]
    value: float
    violations: Mapping[str, float] = MappingProxyType({})


def read_points(
    entry: WarmStart, method: str, space: Space, where: str, constraints: Sequence[Constraint] = ()
) -> tuple[tuple[Learned, ...], str | None]:
    """Return the points of a table that lie in *space*, with their objective, and which rows are left out.

    Among these are rows without the metric of one of the *constraints*, which they may miss.

    Raises:
        SpecError: No such file, no such column, or not one point of the space in it.
    """
    if entry.method not in (None, method):
        return (), None
    rows = _read(Path(entry.table), where)
    if entry.objective not in rows:
        raise SpecError(f"{where}.objective: {entry.table} has no column '{entry.objective}'; "
                        f"{nearest(entry.objective, rows.columns)}")  # fmt: skip
    if entry.method is None and "method" in rows:
        rows = rows[rows["method"] == method]
    found: list[Learned] = []
    left_out: Counter[str] = Counter()
    for record in rows.itertuples(index=False):
        row = dict(zip(rows.columns, record, strict=True))
        params = json.loads(row["hyperparams_json"]) if "hyperparams_json" in row else row
        point, value = _point(params, space.varying), row[entry.objective]
        violations = _violations(row, constraints)
        unknown = next((f"no {one.metric}" for one in constraints if violations[one.text] == math.inf), None)
        reason = _unusable(row, value, entry.objective) or _outside(point, space.varying) or unknown
        if reason is None:
            found.append(Learned(point, float(value), violations))
        else:
            left_out[reason] += 1
    told = "; ".join(f"{count} ({reason})" for reason, count in left_out.most_common())
    if len(rows) and not found:
        raise SpecError(
            f"{where}: {entry.table} holds no point of the search space of {method}; left out are {told}"
        )
    return tuple(found), f"of {len(rows)} rows of {entry.table}, left out are {told}" if told else None


def _violations(row: Mapping[str, Any], constraints: Sequence[Constraint]) -> dict[str, float]:
    """Return by how much a row misses each constraint; ``inf`` without its metric."""
    metrics = {**(row.get("metrics") or {}), **{name: value for name, value in row.items() if value == value}}
    plain = {name: value.item() if hasattr(value, "item") else value for name, value in metrics.items()}
    return {one.text: one.violation(plain) for one in constraints}


def _unusable(row: Mapping[str, Any], value: Any, column: str) -> str | None:
    """Say why a row has no value that a search may learn from: that of a stopped trial is another one's."""
    state = row.get("state", "ok")
    if isinstance(state, str) and state != "ok":
        return f"state {state}"
    return None if _is_finite(value) else f"{column} is not finite"


def _outside(point: Mapping[str, Scalar], space: Space) -> str | None:
    """Say why a point is none of a space: the parameter, by name."""
    if space.contains(point):
        return None
    for name, dimension in space.dimensions.items():
        if name in point and not dimension.contains(point[name]):
            return f"{name} is none of its values"
        if name not in point and space.is_active(name, point):
            return f"no {name}"
    return "it is no complete point"


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
