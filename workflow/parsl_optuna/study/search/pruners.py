"""Pruners by name: Optuna's, fed through a study of their own, and the rule of W&B sweeps.

A study of its own, because Optuna prunes one objective only, and knows nothing of replicates.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
    WilcoxonPruner,
)
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.load import structure
from parsl_optuna.study.search import classes
from parsl_optuna.study.search.hyperband import HyperbandSettings, WandbHyperband
from parsl_optuna.study.search.samplers import plain_params

_PLACE = "$.optuna.pruner"

_CLASSES: dict[str, Callable[..., BasePruner]] = {
    "median": MedianPruner,
    "percentile": PercentilePruner,
    "hyperband": HyperbandPruner,
    "successive_halving": SuccessiveHalvingPruner,
    "wilcoxon": WilcoxonPruner,
    "threshold": ThresholdPruner,
}


class Pruner(Protocol):
    """Compares running trials by what they and others have reported; smaller is better."""

    def report(self, trial_id: str, step: int, value: float) -> None:
        """Add a value."""

    def reason_to_stop(self, trial_id: str) -> str | None:
        """Return why a running trial is to stop, or None."""
        ...

    def end(self, trial_id: str, value: float | None) -> None:
        """End a trial with its final *value*; None for one that failed or was pruned."""


class OptunaPruner:
    """One of Optuna's pruners.

    Args:
        pruner: It.
        name: What is told to people.
        study: Name of the study; hyperband draws brackets from it.
    """

    def __init__(self, pruner: BasePruner, name: str, study: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(study_name=study, sampler=RandomSampler(0), pruner=pruner)
        self._name = name
        self._trials: dict[str, optuna.Trial] = {}
        self._reasons: dict[str, str] = {}

    def report(self, trial_id: str, step: int, value: float) -> None:
        """Add a value; of a repeated step the first one counts, as in Optuna."""
        trial = self._trials.get(trial_id)
        if trial is None:
            trial = self._trials[trial_id] = self._study.ask()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial.report(value, step)
        # Asked at once and for every report: halving notes there who has reached which rung.
        with classes.blamed(_PLACE, self._name) if classes.is_class(self._name) else contextlib.nullcontext():
            is_pruned = trial.should_prune()
        if is_pruned:
            self._reasons[trial_id] = f"the pruner '{self._name}' stopped it at step {step}"

    def reason_to_stop(self, trial_id: str) -> str | None:
        """Return why a running trial is to stop, or None."""
        return self._reasons.get(trial_id)

    def end(self, trial_id: str, value: float | None) -> None:
        """End a trial; one that reported nothing is not known here.

        Optuna's pruners compare reports of complete trials, or of all whatever their state.
        """
        trial = self._trials.pop(trial_id, None)
        if trial is None:
            return
        self._reasons.pop(trial_id, None)
        if value is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, value)


def make_pruner(name: str, params: Mapping[str, Any], study: str) -> Pruner:
    """Return a pruner.

    Args:
        name: One of `spec.PRUNERS`, or a user's class.
        params: Its own parameters, plain values of ours.
        study: Name of the study.

    Raises:
        SpecError: A parameter that the pruner does not have, or refuses.
    """
    if name == "wandb_hyperband":
        return WandbHyperband(structure(HyperbandSettings, dict(params), "$.optuna.pruner"))
    if classes.is_class(name):
        kind = classes.load(name, BasePruner, _PLACE)
        return OptunaPruner(classes.made(name, kind, params, {}, _PLACE), name, study)
    return OptunaPruner(_optuna_pruner(name, dict(params)), name, study)


def _optuna_pruner(name: str, params: dict[str, Any]) -> BasePruner:
    if name == "patient":
        base = params.pop("base", None)
        wrapped = None if base is None else _optuna_pruner(base, {})
        known = [one for one in inspect.signature(PatientPruner).parameters if one != "wrapped_pruner"]
        return _made(
            name, PatientPruner, {"wrapped_pruner": wrapped, **plain_params(_PLACE, name, params, known)}
        )
    if name not in _CLASSES:
        raise SpecError(f"{_PLACE}.base: '{name}' is no pruner of Optuna's; known: {', '.join(_CLASSES)}")
    known = list(inspect.signature(_CLASSES[name]).parameters)
    return _made(name, _CLASSES[name], plain_params(_PLACE, name, params, known))


def _made(name: str, make: Callable[..., BasePruner], given: Mapping[str, Any]) -> BasePruner:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return make(**given)
    except ImportError as error:
        raise SpecError(
            f"$.optuna.pruner: '{name}' needs a package that is not installed: {error}"
        ) from error
    except (TypeError, ValueError) as error:
        raise SpecError(f"$.optuna.pruner: '{name}' refuses its parameters: {error}") from error
