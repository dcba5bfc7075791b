"""Trials as one table, which can be made from artifacts alone; `report.columns` declares what is in it."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from parsl_optuna.core.ended import Ended, score
from parsl_optuna.core.errors import CorruptArtifact, SpecError
from parsl_optuna.core.labels import distinct
from parsl_optuna.core.objective import SCORE, Scoring, finite
from parsl_optuna.core.records import AFTERWARDS, Outcome, ReferenceValue, Trial
from parsl_optuna.report.columns import AFTER_TASK, BEFORE_TASK, COLUMNS, COMPUTED, task_columns
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.atomic import write_bytes
from parsl_optuna.tasks.base import Task, resolve_task

SCHEMA_VERSION = "1"
_VERSION_KEY = b"parsl_optuna_schema"
_OBJECTIVES_KEY = b"parsl_optuna_objectives"
_MAXIMISED_KEY = b"parsl_optuna_maximised"
_LEADING_KEY = b"parsl_optuna_leading"
_TYPES = {
    "float": pa.float64(),
    "int": pa.int64(),
    "str": pa.string(),
    "bool": pa.bool_(),
    "time": pa.timestamp("ms", tz="UTC"),
}
_IDENTITY = ("pid", "method", "trial_id", "state", "problem", "hyperparams_json")
"""Columns that say which trial a row is about; no table is without them."""

_INT64 = 2**63
"""Whole numbers from here on have no column type, and become text."""


def table(entries: Iterable[Ended], task: Task) -> pa.Table:
    """Return one typed row per entry, ordered by problem, method, trial number and id.

    ``hyperparams``, ``diagnostics`` and, where there are any, ``violations`` of constraints and ``metrics``
    that the task did not declare are structs over all keys that occur; the rest is fixed.
    ``hyperparams_json`` holds the trial's own keys alone, with exact types.
    """
    ordered = _told_apart(sorted(entries, key=_order))
    rows = [row(entry, task) for entry in ordered]
    fields = _fields(task)
    scored = next((entry for entry in ordered if entry.objectives), None)
    names = ["error"] if scored is None else list(scored.objectives)
    maximised = [] if scored is None else [name for name in names if scored.scoring.is_maximised(name)]
    extra = [name for name in names[1:] if name not in dict(fields)]
    fields += [(name, pa.float64()) for name in extra]
    columns = {name: pa.array([one.get(name) for one in rows], kind) for name, kind in fields}
    for name in ("hyperparams", "diagnostics"):
        columns[name] = _struct([one[name] for one in rows])
    if any(one["violations"] for one in rows):
        columns["violations"] = _struct([one["violations"] for one in rows])
    if any(one["metrics"] for one in rows):
        columns["metrics"] = _struct([one["metrics"] for one in rows])
    metadata = {
        _VERSION_KEY: SCHEMA_VERSION.encode(),
        _OBJECTIVES_KEY: json.dumps(names).encode(),
        _MAXIMISED_KEY: json.dumps(maximised).encode(),
    }
    if scored is not None:
        metadata[_LEADING_KEY] = scored.scoring.leading.encode()
    return pa.table(columns).replace_schema_metadata(metadata)


def write(rows: pa.Table, path: Path) -> None:
    """Write a table as parquet in one step."""
    stream = io.BytesIO()
    pq.write_table(rows, stream)
    write_bytes(path, stream.getvalue())


def read(path: Path) -> pa.Table:
    """Read a table that `write` wrote.

    Raises:
        SpecError: No such file, or another schema version.
        CorruptArtifact: Not a parquet file.
    """
    if not path.is_file():
        raise SpecError(f"{path}: no such table; run parsl-optuna first, or give --results-dir")
    try:
        rows = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise CorruptArtifact(f"{path}: not a parquet file; run the command again to rebuild it") from error
    version = (rows.schema.metadata or {}).get(_VERSION_KEY, b"").decode()
    if not version:
        raise SpecError(
            f"{path}: parsl-optuna did not write it, or another program did again; rebuild it with: "
            "parsl-optuna collect"
        )
    if version != SCHEMA_VERSION:
        raise SpecError(
            f"{path}: has schema version {version}, this program reads {SCHEMA_VERSION}; "
            "rebuild it with: parsl-optuna collect"
        )
    return _completed(rows, path)


def _completed(rows: pa.Table, path: Path) -> pa.Table:
    """Return a table with all columns that every table has: older versions wrote fewer, which are empty then.

    Raises:
        SpecError: Another program changed it: a row does not say which trial it is about, or two are of one.
    """
    cure = "rebuild it with: parsl-optuna collect"
    for column in COLUMNS:
        kind = _TYPES[column.kind]
        if column.name not in rows.column_names:
            rows = rows.append_column(column.name, pa.nulls(len(rows), kind))
        index = rows.column_names.index(column.name)
        try:
            typed = rows[column.name].cast(kind, safe=column.kind != "time")
        except pa.ArrowException as error:
            raise SpecError(f"{path}: the column {column.name} is no {column.kind}; {cure}") from error
        rows = rows.set_column(index, column.name, typed)
        if column.name in _IDENTITY and typed.null_count:
            raise SpecError(f"{path}: the column {column.name} is missing or has gaps; {cure}")
    for trial, count in Counter(rows["trial_id"].to_pylist()).items():
        if count > 1:
            raise SpecError(f"{path}: the trial {trial} is there {count} times; {cure}")
    for trial, text in zip(
        *(rows[name].to_pylist() for name in ("trial_id", "hyperparams_json")), strict=True
    ):
        if not _is_object(text):
            raise SpecError(f"{path}: hyperparams_json of the trial {trial} is no JSON object; {cure}")
    return rows


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def table_in(results: Path) -> Path:
    """Return the table of a results folder, whichever command wrote it; or the file itself.

    Raises:
        SpecError: There is none, or there are several.
    """
    if results.is_file():
        return results
    tables = sorted(results.glob("*.parquet"))
    if not tables:
        if (results / "events.jsonl").is_file():
            raise SpecError(
                f"{results}: no table of trials there yet, as a run writes it at its end; to have one of the "
                f"trials that have ended: parsl-optuna collect --results-dir {results}"
            )
        below = sorted({str(path.parent) for path in results.glob("*/*.parquet")})
        cure = f"give {' or '.join(below)}" if below else "give the --results-dir of a run"
        raise SpecError(f"{results}: no table of trials there; {cure}")
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise SpecError(f"{results}: holds several tables ({names}); give the path of one")
    return tables[0]


def _told_apart(entries: Sequence[Ended]) -> list[Ended]:
    """Return the entries, with labels that no two problems share."""
    labels = distinct({entry.manifest.pid: entry.label for entry in entries})
    return [
        entry if (label := labels[entry.manifest.pid]) == entry.label else replace(entry, label=label)
        for entry in entries
    ]


def objectives_of(rows: pa.Table) -> list[str]:
    """Return the names of the objectives that a table was made with, the leading one first."""
    return json.loads((rows.schema.metadata or {}).get(_OBJECTIVES_KEY, b'["error"]'))


def maximised_of(rows: pa.Table) -> list[str]:
    """Return the names of those objectives of a table of which more is better."""
    return json.loads((rows.schema.metadata or {}).get(_MAXIMISED_KEY, b"[]"))


def leading_of(rows: pa.Table) -> str:
    """Return what people call the first objective of a table."""
    stored = (rows.schema.metadata or {}).get(_LEADING_KEY)
    return stored.decode() if stored is not None else objectives_of(rows)[0]


def collect(store: ArtifactStore, task_name: str) -> list[Ended]:
    """Read every ended trial of a task from the artifacts alone, but those that ran after a search."""
    task = resolve_task(task_name)
    entries = []
    for pid in store.problem_ids():
        problem = store.problem(pid)
        if problem is None or problem["task"] != task_name:
            continue
        reference = _reference(store, task, pid)
        for method in store.methods(pid):
            for manifest, asked in store.manifests(pid, method):
                outcome = store.outcome(manifest)
                if outcome is not None and manifest.role == "trial" and asked.by not in AFTERWARDS:
                    trial = Trial(manifest, asked)
                    entries.append(_ended(task, trial, outcome, reference, problem["label"]))
    return entries


def _ended(task: Task, trial: Trial, outcome: Outcome, reference: ReferenceValue | None, label: str) -> Ended:
    """Score a trial as it was asked for; older versions stored how, or the objectives, with its outcome."""
    stored = (outcome.unknown.get(name) for name in ("judged_by", "objectives"))
    judged_by, objectives = ({} if not isinstance(one, Mapping) else one for one in stored)
    recipe = trial.asked.objective or judged_by
    if not recipe and objectives:
        scoring = Scoring(names=tuple(objectives))
        return Ended(trial.manifest, trial.asked, outcome, objectives, scoring, reference, label)
    return score(trial, outcome, Scoring.from_json(recipe), task.comparison, reference, label)


def _reference(store: ArtifactStore, task: Task, pid: str) -> ReferenceValue | None:
    names = task.comparison
    if names is None:
        return None
    return store.reference(pid, names.reference, names.reference_se)


def _fields(task: Task) -> list[tuple[str, pa.DataType]]:
    """Return the fixed columns; the contract's come first."""
    kinds: dict[str, str] = {column.name: column.kind for column in BEFORE_TASK}
    kinds |= task_columns(task) | {column.name: column.kind for column in AFTER_TASK}
    return [(name, _TYPES[kind]) for name, kind in kinds.items()]


def row(entry: Ended, task: Task) -> dict[str, Any]:
    """Return the values of an ended trial by column; the structs are mappings of their own."""
    metrics, comparison = entry.outcome.metrics, task.comparison
    values: dict[str, Any] = {column.name: column.value(entry, task) for column in COLUMNS}
    declared = {name: _typed(metrics.get(name), kind) for name, kind in task.columns.items()}
    free = {
        name: value
        for name, value in metrics.items()
        if name not in declared or (declared[name] is None and value is not None)
    }
    diagnostics = metrics.get("diagnostics")
    values["hyperparams"] = dict(entry.manifest.hyperparams)
    values["diagnostics"] = _scalars(diagnostics) if isinstance(diagnostics, Mapping) else {}
    values["violations"] = dict(entry.violations) if entry.minimised is not None else {}
    values["metrics"] = _scalars(free)
    values |= declared
    if task.objective == SCORE:
        known = {**metrics, "runtime_sec": entry.outcome.runtime_sec}
        values |= {name: of(known, comparison, entry.reference) for name, of in COMPUTED.items()}
    values |= {name: finite(value) for name, value in entry.objectives.items() if name not in values}
    if comparison is not None and entry.reference is not None:
        values |= {comparison.reference: entry.reference.value, comparison.reference_se: entry.reference.se}
    return values


def _typed(value: Any, kind: str) -> Any:
    """Return a value for a declared column; None where it is of another type, or too large for it."""
    if kind == "float":
        return finite(value)
    if kind == "int" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not {"int": int, "str": str, "bool": bool}[kind]:
        return None
    return value if kind != "int" or abs(value) < _INT64 else None


def _scalars(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not isinstance(value, (dict, list))}


def _struct(rows: list[dict[str, Any]]) -> pa.Array:
    """Return a struct column over all keys that occur, each of the narrowest common type."""
    names = sorted({name for row in rows for name in row})
    if not names:
        return pa.nulls(len(rows))
    children = [_column([row.get(name) for row in rows]) for name in names]
    return pa.StructArray.from_arrays(children, names=names)


def _column(values: list[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    is_large = any(type(value) is int and abs(value) >= _INT64 for value in values)
    if kinds <= {bool}:
        return pa.array(values, pa.bool_())
    if kinds <= {int} and not is_large:
        return pa.array(values, pa.int64())
    if kinds <= {int, float} and not is_large:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _order(entry: Ended) -> tuple[str, str, float, str]:
    number = entry.asked.number
    position = float("inf") if number is None else float(number)
    return entry.manifest.pid, entry.manifest.method, position, entry.manifest.trial_id
