"""What a configuration is, for every table and picture: the hyperparameters that have an effect.

Trials that differ in nothing but their seed are replicates of one configuration. Problem and method are
strata: nothing is pooled over them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from parsl_optuna.core.errors import WorkflowError
from parsl_optuna.core.objective import finite
from parsl_optuna.core.seeds import is_seed
from parsl_optuna.tasks.base import Task, resolve_task

Frame = Any
"""A pandas data frame; its stubs call every selection one of a dozen types."""

Series = Any
"""A pandas series."""

PREFIX = "hp_"
"""Begins the name of a column that holds a hyperparameter."""

_NULL = "null"
"""Stands for a value null; a text of these letters is quoted."""

_QUOTED_NULL = json.dumps(_NULL)

_OWN = ("configuration", "replicate", "verdict")
"""Columns that a flat table adds."""

METRIC = " (metric)"
"""Ends the name of a column whose own name is taken."""

STRATA = ["problem", "method"]

FEW_VALUES = 8
"""Largest number of values of a parameter that are compared one by one; more are treated as a scale."""


def flatten(rows: Frame) -> Frame:
    """Return a row per trial: its own columns, ``hp_NAME`` per hyperparameter, `configuration`, `replicate`.

    Hyperparameters without effect on a trial, given its others, are missing there; a value null is the
    text ``null``. Seeds (`is_seed`) are part of ``replicate``, not of ``configuration``.
    """
    rows = rows.rename(columns={name: column_of(name) for name in rows.columns})
    task = task_of(rows)
    params = [
        active(task, method, params)
        for method, params in rows[["method", "hyperparams_json"]].itertuples(index=False)
    ]
    seeds = [{name: one.pop(name) for name in list(one) if is_seed(name)} for one in params]
    flat = rows.join(pd.DataFrame(params, index=rows.index).add_prefix(PREFIX))
    return flat.assign(
        configuration=[_key(one) for one in params],
        replicate=[f"{number} {_key(own)}" for number, own in zip(rows["seed"], seeds, strict=True)],
    )


def column_of(name: str) -> str:
    """Return the name of a column of the table in a flat one: objectives may have names that we add."""
    return f"{name}{METRIC}" if name in _OWN or name.startswith(PREFIX) else name


def varied(rows: Frame) -> list[str]:
    """Return the columns of hyperparameters with several values among *rows*, missing ones not counted."""
    columns = [name for name in rows.columns if name.startswith(PREFIX)]
    return [name for name in columns if n_values(rows[name]) > 1]


def n_values(values: Series) -> int:
    """Return the number of different values of a hyperparameter, missing ones not counted."""
    return int((values if is_numeric(values) else values.map(label, na_action="ignore")).nunique())


def strata(rows: Frame) -> Iterator[tuple[dict[str, str], Frame]]:
    """Yield the trials that ended ok of every problem and method, with their names."""
    for names, group in rows[rows["state"] == "ok"].groupby(STRATA):
        yield dict(zip(STRATA, names, strict=True)), group


def within(table: Frame, head: Mapping[str, str]) -> Frame:
    """Return the rows of a table that are about one of `strata`."""
    return table[(table["problem"] == head["problem"]) & (table["method"] == head["method"])]


def means(rows: Frame, metric: str) -> Frame:
    """Return a row per configuration: hyperparameters, the mean of a metric ``y``, its trials ``n``."""
    columns = [name for name in rows.columns if name.startswith(PREFIX)]
    known = rows[["configuration", *columns]].assign(y=rows[metric].map(finite).astype(float))
    known = known.dropna(subset=["y"])
    groups = known.groupby("configuration", sort=False)
    first = known.drop_duplicates("configuration").set_index("configuration")[columns]
    return first.assign(y=groups["y"].mean(), n=groups["y"].size())


def competing(units: Frame) -> Frame:
    """Return the rows of `means` with as many trials as any other.

    The mean of fewer is the luckier one, or that of the seeds which did not fail.
    """
    return units[units["n"] == units["n"].max()]


@functools.lru_cache(maxsize=1 << 16, typed=True)  # a table has each many times
def label(value: object) -> str:
    """Return a hyperparameter's value as people write it; a text that reads as a number is quoted."""
    if isinstance(value, str):
        return json.dumps(value) if _is_ambiguous(value) else value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of whole numbers with gaps holds floats
    return json.dumps(value.item() if hasattr(value, "item") else value)  # type: ignore[union-attr]


def _is_ambiguous(text: str) -> bool:
    """Whether a text reads as a value of another kind, so that ``1`` and ``"1"`` would be one level."""
    try:
        return text not in (_NULL, _QUOTED_NULL) and not isinstance(json.loads(text), (list, dict))
    except ValueError:
        return False


def is_numeric(values: Series) -> bool:
    """Whether a column holds numbers; true and false are none."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _key(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def task_of(rows: Frame) -> Task | None:
    """Return the task of the trials; None where it cannot be imported, as for a table of another project."""
    names = rows["task"].dropna().unique() if "task" in rows.columns else []
    try:
        return resolve_task(str(names[0])) if len(names) == 1 else None
    except WorkflowError:
        return None


def active(task: Task | None, method: str, hyperparams_json: str) -> dict[str, Any]:
    """Return the hyperparameters of a trial that have an effect; a null, a list and an object are texts."""
    params: Mapping[str, Any] = json.loads(hyperparams_json)
    without = frozenset() if task is None or task.irrelevant is None else task.irrelevant(method, params)
    kept = {name: value for name, value in params.items() if name not in without}
    special = {None: _NULL, _NULL: _QUOTED_NULL, _QUOTED_NULL: json.dumps(_QUOTED_NULL)}
    plain = {name: special.get(value, value) if _is_plain(value) else value for name, value in kept.items()}
    return {name: json.dumps(one) if isinstance(one, (list, dict)) else one for name, one in plain.items()}


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str)
