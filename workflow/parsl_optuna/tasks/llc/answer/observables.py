"""What is recorded of chains: t (L - L0), and observables that show whether to trust it, or adjust it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from parsl_optuna.kernels import hmc, langevin, random_reshuffling, sgld
from parsl_optuna.kernels.metric import Metric
from parsl_optuna.tasks.llc.answer.control_variates import LossCoordinates
from parsl_optuna.tasks.llc.problem.estimand import Estimand

RECORDED = "recorded "
"""Before the names of a user's observables, which may be any."""

HEAT = "heat"
"""What steps of SGLD add to the virial: `sgld.heat`."""


@dataclass(frozen=True)
class Observer:
    """Observes chains in the coordinates *metric*: values ``(chains,)``, and the user's own of any shape."""

    estimand: Estimand
    metric: Metric
    loss_coordinates: LossCoordinates

    @property
    def known(self) -> dict[str, float]:
        """Exact means of some observables."""
        return {"virial": float(self.estimand.dim), "loss_virial": self.loss_coordinates.mean}

    def all_data(self, before: Any, after: hmc.State | langevin.State) -> dict[str, Tensor]:
        """Observe a state with U on all data and its gradient."""
        del before
        return self._at(after.position, after.potential, after.gradient)

    def minibatches(self, before: Any, after: random_reshuffling.State) -> dict[str, Tensor]:
        """Observe a state of minibatch dynamics where U was last evaluated on all data."""
        del before
        return self._at(after.seen.position, after.seen.energy, after.seen.full_gradient)

    def batches(self, before: sgld.State, after: sgld.State) -> dict[str, Tensor]:
        """Observe the position before a step, with the gradient there on a minibatch independent of it."""
        w = self.metric.position(before.position)
        return {
            "excess": self.estimand.excess(w),
            "radius": self.estimand.radius(w),
            "virial": (before.position * after.gradient).sum(-1),
            "loss_virial": self.loss_coordinates.virial(w, self.metric.pushed(after.gradient)),
            **self._recorded(w),
        }

    def _at(self, z: Tensor, energy: Tensor, gradient: Tensor) -> dict[str, Tensor]:
        w = self.metric.position(z)
        seen = observed(self.estimand, w, energy, (z * gradient).sum(-1))
        loss_virial = self.loss_coordinates.virial(w, self.metric.pushed(gradient))
        return seen | {"loss_virial": loss_virial} | self._recorded(w)

    def _recorded(self, w: Tensor) -> dict[str, Tensor]:
        return {RECORDED + name: value for name, value in self.estimand.recording.at(w).items()}


def observed(estimand: Estimand, w: Tensor, energy: Tensor, virial: Tensor) -> dict[str, Tensor]:
    """Return excess, radius and virial ``(chains,)`` of chains at *w*, where U is *energy*."""
    radius = estimand.radius(w)
    return {"excess": estimand.excess_from(energy, radius), "radius": radius, "virial": virial}
