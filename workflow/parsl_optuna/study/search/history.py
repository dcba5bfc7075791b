"""What a sampler of ours knows when a trial is asked for: points, one value each, constraints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from parsl_optuna.core.space import Conditions
from parsl_optuna.study.search import constraints
from parsl_optuna.study.search.cube import Cube
from parsl_optuna.study.search.scores import at_last_step, scalarised

Array = NDArray[np.float64]

REFUSED = "parsl_optuna:refused"
"""User attribute of a failed trial that was never run: of which number its point is not proposed."""

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class History(NamedTuple):
    """What is known when a trial is asked for.

    Attributes:
        cube: The space; its known points are first those that ended, then those that run.
        values: What the ended ones came to, to be minimised; ``inf`` of a failure.
        constraints: Constraints of the ended ones, shape (constraints, trials); NaN where one has none,
            ``inf`` of a failure: where trials fail is no place to look for those that keep the constraints.
        seen: Points that are not to be proposed.
    """

    cube: Cube
    values: Array
    constraints: Array
    seen: Array

    @classmethod
    def of(
        cls,
        study: Study,
        trial: FrozenTrial,
        space: Mapping[str, BaseDistribution],
        conditions: Conditions,
        weights: Array,
        number: int,
    ) -> History:
        """Read the trials of a study, by number; *number* is that of the trial that is asked for."""
        every = [
            one
            for one in study.get_trials(deepcopy=False)
            if one.number != trial.number and one.params.keys() & space.keys()
        ]
        trials = sorted((one for one in every if REFUSED not in one.user_attrs), key=lambda one: one.number)
        refused = [one.params for one in every if one.user_attrs.get(REFUSED) == number]
        ended = [one for one in trials if one.state in _ENDED]
        running = [one for one in trials if one.state == TrialState.RUNNING]
        cube = Cube(space, [one.params for one in ended + running], conditions)
        seen = np.concatenate([cube.known, cube.encode(refused)])
        return cls(cube, _values(study, ended, weights), _constraints(ended), seen)


def _values(study: Study, ended: Sequence[FrozenTrial], weights: Array) -> Array:
    signs = [1.0 if one == StudyDirection.MINIMIZE else -1.0 for one in study.directions]
    values = np.full((len(ended), len(signs)), math.inf)
    for row, one in zip(values, ended, strict=True):
        if one.state == TrialState.COMPLETE:
            row[:] = [sign * value for sign, value in zip(signs, one.values, strict=True)]
    if len(signs) > 1:
        is_good = np.isfinite(values).all(axis=1)
        return np.where(is_good, scalarised(values, weights), math.inf) if len(values) else values[:, 0]
    (sign,) = signs
    seconds = np.zeros(len(ended))
    complete = [one for one in ended if one.state == TrialState.COMPLETE]
    pruned = [one for one in ended if one.state == TrialState.PRUNED and one.value is not None]
    finals = np.array([sign * one.values[0] for one in complete])
    of_complete, of_pruned = ([_reports(one, sign) for one in some] for some in (complete, pruned))
    for index, one in enumerate(ended):
        if one.state == TrialState.PRUNED and one.value is not None:
            keys = at_last_step(_reports(one, sign), sign * one.value, of_complete, of_pruned, finals)
            values[index, 0], seconds[index] = keys
    if not pruned:
        return values[:, 0]
    _, ranks = np.unique(np.column_stack([values[:, 0], seconds]), axis=0, return_inverse=True)
    return np.where(np.isfinite(values[:, 0]), ranks.reshape(-1).astype(float), math.inf)


def _reports(trial: FrozenTrial, sign: float) -> dict[int, float]:
    return {step: sign * value for step, value in trial.intermediate_values.items()}


def _constraints(ended: Sequence[FrozenTrial]) -> Array:
    found = [constraints.of(one) for one in ended]
    names = sorted({name for one in found for name in one})
    missing = [math.inf if one.state == TrialState.FAIL else math.nan for one in ended]
    rows = [[one.get(name, other) for one, other in zip(found, missing, strict=True)] for name in names]
    return np.array(rows, dtype=float).reshape(len(names), len(ended))
