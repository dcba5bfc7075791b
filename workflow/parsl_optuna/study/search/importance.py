"""How much each hyperparameter matters, by Optuna."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator

optuna.logging.set_verbosity(optuna.logging.ERROR)

_LEAST_TRIALS = 10


def importances(points: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, float]:
    """Return the share of each parameter in what separates the best tenth of trials from the rest.

    Args:
        points: Varied hyperparameters of every trial.
        values: What was minimised.

    Returns:
        Shares that sum to one, the largest first; empty for fewer than ten trials.

    Source: PED-ANOVA, Watanabe, Bansal & Hutter 2023.
    """
    names = sorted({name for point in points for name in point})
    if len(points) < _LEAST_TRIALS or not names:
        return {}
    distributions = {name: _distribution([point.get(name) for point in points]) for name in names}
    study = optuna.create_study()
    for point, value in zip(points, values, strict=True):
        params = {name: _coded(distributions[name], point.get(name)) for name in names}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=float(value))
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=names)
    return {name: float(share) for name, share in found.items()}


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) == len(values) and len(set(numbers)) > 1:
        return FloatDistribution(
            min(numbers), max(numbers), log=min(numbers) > 0 and max(numbers) > 100 * min(numbers)
        )
    return CategoricalDistribution(sorted({json.dumps(value) for value in values}))


def _coded(distribution: BaseDistribution, value: Any) -> Any:
    return json.dumps(value) if isinstance(distribution, CategoricalDistribution) else float(value)
