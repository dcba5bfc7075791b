"""The normal approximation at w*, weighted to the posterior where it is near: needs no chains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parsl_optuna.tasks.llc.samplers.base import Direct, later

if TYPE_CHECKING:
    from parsl_optuna.tasks.llc.engine import weighted
else:
    (weighted,) = later("tasks.llc.engine.weighted")


AUTOMATIC = Direct(
    lambda *given: weighted.estimate(*given),
    lambda estimand: weighted.kept_values(estimand),
    lambda estimand: weighted.fewest_gradients(estimand),
)
