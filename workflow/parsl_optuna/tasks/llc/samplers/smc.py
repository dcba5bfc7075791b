"""Sequential Monte Carlo: populations that weigh parts of the posterior by their evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parsl_optuna.tasks.llc.samplers.base import Direct, later

if TYPE_CHECKING:
    from parsl_optuna.tasks.llc.engine import population
else:
    (population,) = later("tasks.llc.engine.population")


AUTOMATIC = Direct(
    lambda *given: population.estimate(*given),
    lambda estimand: population.kept_values(estimand),
    lambda estimand: population.fewest_gradients(estimand),
)
