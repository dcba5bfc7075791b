"""What Optuna sees of a search space: values that it would round, or take for unordered, by their numbers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.space import Categorical, Dimension, Float, Int, Scalar, Space


class Codes:
    """Translates points of a space for Optuna, and back.

    Steps of real numbers, steps on a log scale and ordered choices are whole numbers to Optuna, so that a
    value comes back as it is stored: 0.3, and not 0.30000000000000004, which would be another trial.

    Args:
        space: The space.

    Attributes:
        distributions: Of Optuna, by name.
        conditions: As of the space, with values as Optuna sees them.
    """

    def __init__(self, space: Space) -> None:
        self._dimensions = space.dimensions
        self.distributions = {name: _distribution(one) for name, one in space.dimensions.items()}
        self.conditions = {
            name: {
                parent: tuple(_encoded(self._dimensions[parent], value) for value in allowed)
                for parent, allowed in when.items()
            }
            for name, when in space.conditions.items()
        }

    def encode(self, point: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return a point as Optuna sees it."""
        return {name: _encoded(self._dimensions[name], value) for name, value in point.items()}

    def decode(self, params: Mapping[str, Any]) -> dict[str, Scalar]:
        """Return what Optuna proposed as a point."""
        return {name: _decoded(self._dimensions[name], value) for name, value in params.items()}

    def fixed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values of some parameters as Optuna sees them.

        Raises:
            SpecError: A value that is none of the parameter's.
        """
        found = dict(values)
        for name, value in values.items():
            dimension = self._dimensions.get(name)
            if dimension is None:  # the sampler tells it
                continue
            if not dimension.contains(dimension.stored(value)):
                raise SpecError(
                    f"$.optuna.sampler.fixed_params.{name}: {value!r} is outside the search space; widen it"
                )
            found[name] = _encoded(dimension, dimension.stored(value))
        return found

    @property
    def are_needed(self) -> bool:
        """Whether Optuna sees anything else than the values."""
        return any(_is_coded(one) for one in self._dimensions.values())

    def decoded(self, study: optuna.Study) -> optuna.Study:
        """Return a copy of a study, with the values of the points and without its sampler."""
        shown = optuna.create_study(study_name=study.study_name, directions=study.directions)
        for trial in study.get_trials(deepcopy=False):
            one = copy.copy(trial)
            one.params = self.decode(trial.params)
            one.distributions = {name: _shown(self._dimensions[name]) for name in trial.params}
            shown.add_trial(one)
        return shown


def suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Scalar:
    """Have Optuna propose one parameter; return its value."""
    found: Any = _distribution(dimension)
    if isinstance(found, FloatDistribution):
        return trial.suggest_float(name, found.low, found.high, log=found.log)
    if isinstance(found, IntDistribution):
        code = trial.suggest_int(name, found.low, found.high, log=found.log, step=found.step)
        return _decoded(dimension, code)
    return trial.suggest_categorical(name, found.choices)


def _is_coded(dimension: Dimension) -> bool:
    if isinstance(dimension, Categorical):
        return dimension.ordered
    return dimension.step is not None and (
        isinstance(dimension, Float) or (dimension.log and dimension.step > 1)
    )


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Categorical):
        if dimension.ordered:
            return IntDistribution(0, len(dimension.choices) - 1)
        return CategoricalDistribution(dimension.choices)
    if _is_coded(dimension) and dimension.grid is not None:
        return IntDistribution(dimension.grid.first, dimension.grid.last, log=dimension.log)
    if isinstance(dimension, Float):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    return IntDistribution(dimension.low, _last(dimension), log=dimension.log, step=dimension.step)


def _last(dimension: Int) -> int:
    return int(dimension.grid.at(dimension.grid.last))


def _encoded(dimension: Dimension, value: Scalar) -> Scalar:
    if not _is_coded(dimension):
        return value
    if isinstance(dimension, Categorical):
        return next(i for i, one in enumerate(dimension.choices) if Categorical((one,)).contains(value))
    assert dimension.grid is not None
    return dimension.grid.index(float(value))  # type: ignore[arg-type]


def _decoded(dimension: Dimension, code: Any) -> Scalar:
    if not _is_coded(dimension):
        return code
    if isinstance(dimension, Categorical):
        return dimension.choices[code] if 0 <= code < len(dimension.choices) else code
    assert dimension.grid is not None
    value = dimension.grid.at(code)
    return value if isinstance(dimension, Float) else int(value)


def _shown(dimension: Dimension) -> BaseDistribution:
    """Return a distribution that holds the values themselves."""
    if isinstance(dimension, Categorical):
        return CategoricalDistribution(dimension.choices)
    if isinstance(dimension, Int):
        return IntDistribution(
            dimension.low, _last(dimension), log=dimension.log, step=1 if dimension.log else dimension.step
        )
    if dimension.grid is None or dimension.log:
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    return FloatDistribution(dimension.low, dimension.grid.at(dimension.grid.last), step=dimension.step)
