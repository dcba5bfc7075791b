"""Optuna's samplers by name, with their parameters checked; made anew for every ask from its seed."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
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

from parsl_optuna.core.errors import SpecError, nearest

_CLASSES: dict[str, Callable[..., BaseSampler]] = {
    "tpe": TPESampler,
    "random": RandomSampler,
    "gp": GPSampler,
    "cmaes": CmaEsSampler,
    "nsgaii": NSGAIISampler,
    "nsgaiii": NSGAIIISampler,
    "qmc": QMCSampler,
    "brute_force": BruteForceSampler,
}
STATEFUL = {"cmaes", "nsgaii", "nsgaiii", "qmc"}
"""Samplers that keep a state on trials: a study of theirs is rebuilt by asking again."""

_ONE_SEED = {"qmc"}
"""Samplers that count on along one sequence: they keep the seed of the study."""


def make_sampler(
    name: str, params: Mapping[str, Any], seeds: tuple[int, int], n_startup_trials: int
) -> BaseSampler:
    """Return a sampler.

    Args:
        name: One of `spec.SAMPLERS`, ``grid`` excepted.
        params: Its own parameters, plain values.
        seeds: Of the study and of this ask.
        n_startup_trials: Random trials first, where the sampler knows such a thing.

    Raises:
        SpecError: A parameter that the sampler does not have, or that is not a plain value.
    """
    if name == "partial_fixed":
        return _partial_fixed(dict(params), seeds, n_startup_trials)
    known = _parameters(name)
    given: dict[str, Any] = {}
    if "n_startup_trials" in known:
        given["n_startup_trials"] = n_startup_trials
    given |= plain_params("$.optuna.sampler", name, params, [one for one in known if one != "seed"])
    seed = seeds[0] if name in _ONE_SEED else seeds[1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return _CLASSES[name](**given, seed=seed % 2**32)
    except ImportError as error:
        raise SpecError(
            f"$.optuna.sampler: '{name}' needs a package that is not installed: {error}"
        ) from error
    except (TypeError, ValueError) as error:
        raise SpecError(f"$.optuna.sampler: '{name}' refuses its parameters: {error}") from error


@functools.cache
def _parameters(name: str) -> tuple[str, ...]:
    return tuple(inspect.signature(_CLASSES[name]).parameters)


def plain_params(where: str, name: str, params: Mapping[str, Any], known: list[str]) -> dict[str, Any]:
    """Return the parameters of a sampler or pruner, checked.

    Raises:
        SpecError: A parameter that is not in *known*, or that is not a plain value.
    """
    for key, value in params.items():
        if key not in known:
            raise SpecError(f"{where}.{key}: '{name}' has no such parameter; {nearest(key, known)}")
        if not isinstance(value, (bool, int, float, str, type(None))):
            raise SpecError(f"{where}.{key}: must be a plain value, got {value!r}")
    return dict(params)


def _partial_fixed(params: dict[str, Any], seeds: tuple[int, int], n_startup_trials: int) -> BaseSampler:
    fixed, base = params.pop("fixed_params", None), params.pop("base", "tpe")
    if not isinstance(fixed, dict) or base not in _CLASSES:
        raise SpecError(
            "$.optuna.sampler: partial_fixed needs fixed_params: {name: value}, and base: a sampler"
        )
    return PartialFixedSampler(fixed, make_sampler(base, params, seeds, n_startup_trials))
