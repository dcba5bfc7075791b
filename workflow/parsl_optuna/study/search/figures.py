"""Optuna's own figures of a study that was exported."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import optuna

from parsl_optuna.core.errors import SpecError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from plotly.graph_objects import Figure


def memory() -> optuna.storages.BaseStorage:
    """Return a storage to export to."""
    return optuna.storages.InMemoryStorage()


def figure(
    kind: str, storage: Any, name: str, objectives: Sequence[str], objective: str | None, **options: Any
) -> Figure:
    """Return one of Optuna's figures.

    Args:
        kind: Name of a function of ``optuna.visualization``.
        storage: Where the study is.
        name: Of the study.
        objectives: Names of its objectives.
        objective: Which of them is shown, where a figure shows one; None is the first one.
        **options: Passed to the function.

    Raises:
        SpecError: There is no such objective, or Optuna cannot draw these trials.
    """
    make: Callable[..., Figure] = getattr(optuna.visualization, kind)
    study = optuna.load_study(study_name=name, storage=storage)
    shown = objectives[0] if objective is None else objective
    if shown not in objectives:
        raise SpecError(f"{kind}: no objective '{shown}'; {nearest(shown, objectives)}")
    known = inspect.signature(make).parameters
    if "target_names" in known:
        options["target_names"] = list(objectives)
    elif "target_name" in known:
        options["target_name"] = shown
        if len(objectives) > 1:
            options["target"] = lambda trial: trial.values[objectives.index(shown)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return make(study, **options)
        except (ValueError, RuntimeError, TypeError) as error:
            raise SpecError(f"{kind}: {error}") from error
