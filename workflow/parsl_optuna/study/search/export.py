"""Ended trials as studies of an Optuna storage, for Optuna's own tools."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from parsl_optuna.core.errors import WorkflowError
from parsl_optuna.core.labels import named
from parsl_optuna.core.objective import in_row
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.progress import reports
from parsl_optuna.study.search import constraints
from parsl_optuna.tasks.base import resolve_task

_STATES = {"ok": TrialState.COMPLETE, "pruned": TrialState.PRUNED}

_LOG_RATIO = 100.0
"""Positive values that span two decades or more are drawn on a log axis."""

_ID = "trial_id"


def export(
    rows: Sequence[Mapping[str, Any]],
    objectives: Sequence[str],
    maximised: Sequence[str],
    root: Path,
    storage: Any,
    leading: str | None = None,
) -> list[str]:
    """Add the trials of a table to an Optuna storage, one study per problem and method.

    Every trial carries its id, state, reason and metrics as user attributes, its reported values as
    intermediate values, and its real times. Hyperparameters without effect on a trial are left out of its
    parameters. A trial that is there already is not added again.

    Args:
        rows: The table, a mapping per trial.
        objectives: Names of the objectives, the leading one first, which is the column ``objective``.
        maximised: Those of which more is better.
        root: The artifacts folder, for reported values.
        storage: A URL, or a storage object of Optuna.
        leading: What people call the leading objective, where that is not its name.

    Returns:
        The names of the studies.
    """
    store = ArtifactStore(root)
    directions = [
        StudyDirection.MAXIMIZE if name in maximised else StudyDirection.MINIMIZE for name in objectives
    ]
    studies: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        studies.setdefault(f"{row['method']} on {named(row['problem'], row['pid'])}", []).append(row)
    for name, trials in studies.items():
        study = optuna.create_study(
            study_name=name, storage=storage, directions=directions, load_if_exists=True
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # it only names axes of pictures
            study.set_metric_names([leading or objectives[0], *objectives[1:]])
        known = {trial.user_attrs.get(_ID) for trial in study.get_trials(deepcopy=False)}
        params = [_active(row) for row in trials]
        distributions = _distributions(params)
        for row, point in zip(trials, params, strict=True):
            if row["trial_id"] not in known:
                study.add_trial(_trial(row, point, distributions, objectives, store))
    return list(studies)


def _active(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters of a trial that have an effect, as far as its task is there to ask."""
    params = json.loads(row["hyperparams_json"])
    try:
        irrelevant = resolve_task(str(row.get("task"))).irrelevant
    except WorkflowError:
        return params
    without = frozenset() if irrelevant is None else irrelevant(row["method"], params)
    return {name: value for name, value in params.items() if name not in without}


def _trial(
    row: Mapping[str, Any],
    point: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    objectives: Sequence[str],
    store: ArtifactStore,
) -> FrozenTrial:
    known = [_number(row["objective"]), *(_number(in_row(row, name)) for name in objectives[1:])]
    values = [value for value in known if value is not None]
    state = _STATES.get(row["state"], TrialState.FAIL)
    if state is TrialState.COMPLETE and len(values) < len(known):
        state = TrialState.FAIL  # Optuna has no complete trial without its values
    reported = reports(store.paths.progress(row["pid"], row["method"], row[_ID]))
    metric = next(iter(reported[0].metrics), None) if reported else None
    steps = {one.step: _number(one.metrics.get(metric or "")) for one in reported}
    missed = row.get("violations") or {}
    violations = {name: value for name, value in missed.items() if value is not None}
    return FrozenTrial(
        number=0,  # the storage counts
        trial_id=0,
        state=state,
        value=None,
        values=values if state is TrialState.COMPLETE else None,
        datetime_start=row["started"].to_pydatetime().replace(tzinfo=None),
        datetime_complete=row["ended"].to_pydatetime().replace(tzinfo=None),
        params={name: _coded(distributions[name], value) for name, value in point.items()},
        distributions={name: distributions[name] for name in point},
        user_attrs=_attributes(row),
        system_attrs=constraints.attributes(violations, is_pruned=state is TrialState.PRUNED),
        intermediate_values={step: value for step, value in steps.items() if value is not None},
    )


def _attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything else that is known of a trial, as JSON."""
    left_out = {"hyperparams", "hyperparams_json", "started", "ended"}
    return {name: _plain(value) for name, value in row.items() if name not in left_out}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> float | None:
    value = _plain(value)
    return None if value is None or isinstance(value, (bool, str)) else float(value)


def _distributions(points: Sequence[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
    """Return, for every hyperparameter, a distribution that holds all of its values."""
    names = dict.fromkeys(name for point in points for name in point)
    return {name: _distribution([point[name] for point in points if name in point]) for name in names}


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    if not numeric:
        return CategoricalDistribution(list(dict.fromkeys(map(_choice, values))))
    low, high = min(values), max(values)
    log = low > 0 and high >= _LOG_RATIO * low
    if all(isinstance(value, int) for value in values):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _coded(distribution: BaseDistribution, value: Any) -> Any:
    return _choice(value) if isinstance(distribution, CategoricalDistribution) else value


def _choice(value: Any) -> Any:
    """Return a choice that Optuna stores: a scalar, or anything else as JSON."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else json.dumps(value)
