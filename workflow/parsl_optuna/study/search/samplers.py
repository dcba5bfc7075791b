"""Optuna's samplers by name, with their parameters checked; made anew for every ask from its seed."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, TrialState

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.space import Conditions
from parsl_optuna.study.search import classes, constraints


class _BruteForce(BruteForceSampler):
    """All points in turn; when they are through, it would stop a loop of Optuna's, and there is none."""

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Do nothing."""


_CLASSES: dict[str, Callable[..., BaseSampler]] = {
    "tpe": TPESampler,
    "random": RandomSampler,
    "gp": GPSampler,
    "cmaes": CmaEsSampler,
    "nsgaii": NSGAIISampler,
    "nsgaiii": NSGAIIISampler,
    "qmc": QMCSampler,
    "brute_force": _BruteForce,
}
_PLACE = "$.optuna.sampler"

STATEFUL = {"cmaes", "nsgaii", "nsgaiii", "qmc"}
"""Samplers that keep a state on trials: a study of theirs is rebuilt by asking again."""

_ONE_SEED = {"qmc", "rank_gp"}
"""Samplers that count on along one sequence: they keep the seed of the study."""


_OURS = ("seed", "search_space", "conditions", "number", "attempt", "constraints_func")
"""Parameters of samplers that are never a user's."""


class Ask(NamedTuple):
    """What a proposal depends on besides the trials.

    Attributes:
        study_seed: Of the study.
        seed: Of this ask alone.
        number: Of the trial.
        attempt: How many points were refused for it.
        space: Distributions by name; None where the sampler is to find them out.
        conditions: When a parameter is active, as in `Space`.
        is_constrained: Whether trials may be infeasible.
    """

    study_seed: int
    seed: int
    number: int
    attempt: int
    space: Mapping[str, BaseDistribution] | None
    conditions: Conditions = MappingProxyType({})
    is_constrained: bool = False


def make_sampler(name: str, params: Mapping[str, Any], ask: Ask, n_startup_trials: int) -> BaseSampler:
    """Return a sampler for one ask.

    Args:
        name: One of `spec.SAMPLERS`, ``auto`` and ``grid`` excepted; or a user's class, which is made once
            per study, with the study's seed.
        params: Its own parameters, plain values of ours.
        ask: Which one.
        n_startup_trials: Random trials first, where the sampler knows such a thing.

    Raises:
        SpecError: A parameter that the sampler does not have, or that is not a plain value.
    """
    if classes.is_class(name):
        return _of_the_user(name, params, ask, n_startup_trials)
    if name == "partial_fixed":
        return _partial_fixed(dict(params), ask, n_startup_trials)
    known = _parameters(name)
    given: dict[str, Any] = {}
    if ask.is_constrained:
        given |= constraints.parameters(known)
    if "n_startup_trials" in known:
        given["n_startup_trials"] = n_startup_trials
    given |= plain_params("$.optuna.sampler", name, params, [one for one in known if one not in _OURS])
    if name == "rank_gp":
        given |= {"search_space": ask.space, "conditions": ask.conditions}
        given |= {"number": ask.number, "attempt": ask.attempt}
    seed = ask.study_seed if name in _ONE_SEED else ask.seed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return _class(name)(**given, seed=seed % 2**32)
    except ImportError as error:
        raise SpecError(
            f"$.optuna.sampler: '{name}' needs a package that is not installed: {error}"
        ) from error
    except (TypeError, ValueError) as error:
        raise SpecError(f"$.optuna.sampler: '{name}' refuses its parameters: {error}") from error


def remembers(name: str) -> bool:
    """Whether a sampler has a state besides the trials, so that a study is rebuilt by asking again."""
    return name in STATEFUL or classes.is_class(name)


def _of_the_user(name: str, params: Mapping[str, Any], ask: Ask, n_startup_trials: int) -> BaseSampler:
    given: dict[str, Any] = {"seed": ask.study_seed % 2**32}
    if "n_startup_trials" not in params:
        given["n_startup_trials"] = n_startup_trials
    if ask.is_constrained:
        given |= constraints.parameters(("constraints_func",))
    kind = classes.load(name, BaseSampler, _PLACE)
    return classes.made(name, kind, params, given, _PLACE)


def _class(name: str) -> Callable[..., BaseSampler]:
    if name != "rank_gp":
        return _CLASSES[name]
    from parsl_optuna.study.search.rank_gp import RankGPSampler  # noqa: PLC0415  scipy, which others do not need

    return RankGPSampler


@functools.cache
def _parameters(name: str) -> tuple[str, ...]:
    return tuple(inspect.signature(_class(name)).parameters)


def plain_params(where: str, name: str, params: Mapping[str, Any], known: list[str]) -> dict[str, Any]:
    """Return the parameters of a sampler or pruner, checked.

    Raises:
        SpecError: A parameter that is not in *known*, or that is not a plain value.
    """
    for key, value in params.items():
        if key == "seed":
            raise SpecError(f"{where}.seed: is set by the study; remove it, and give the study's own seed")
        if key not in known:
            raise SpecError(f"{where}.{key}: '{name}' has no such parameter; {nearest(key, known)}")
        if not isinstance(value, (bool, int, float, str, type(None))):
            raise SpecError(f"{where}.{key}: must be a plain value, got {value!r}")
    return dict(params)


def _partial_fixed(params: dict[str, Any], ask: Ask, n_startup_trials: int) -> BaseSampler:
    fixed, base = params.pop("fixed_params", None), params.pop("base", "tpe")
    known = () if ask.space is None else ask.space
    for key in fixed if isinstance(fixed, dict) else ():
        if key not in known:
            raise SpecError(f"{_PLACE}.fixed_params.{key}: does not vary here; {nearest(str(key), known)}")
    if not isinstance(fixed, dict) or base not in (*_CLASSES, "rank_gp"):
        raise SpecError(
            "$.optuna.sampler: partial_fixed needs fixed_params: {name: value}, and base: a sampler"
        )
    inner = make_sampler(base, params, ask._replace(space=None, conditions={}), n_startup_trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return PartialFixedSampler(fixed, inner)
