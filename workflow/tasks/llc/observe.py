"""What is recorded of chains: t (L - L0), and observables that tell whether to trust it or sharpen it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from workflow.kernels import hmc, langevin, reshuffled, sgld
from workflow.kernels.metric import Metric
from workflow.tasks.llc.control import Held
from workflow.tasks.llc.estimand import Estimand


@dataclass(frozen=True)
class Observer:
    """Observes chains that move in the coordinates *metric*."""

    estimand: Estimand
    metric: Metric
    held: Held

    @property
    def known(self) -> dict[str, float]:
        """What some observables are on average."""
        return {"virial": float(self.estimand.dim), "held": self.held.mean}

    def all_data(self, before: Any, after: hmc.State | langevin.State) -> dict[str, Tensor]:
        """Observe chains that know U on all data and its gradient."""
        del before
        seen = observed(self.estimand, self.metric, after.position, after.potential, after.gradient)
        return seen | self._held(after.position, after.gradient)

    def parts(self, before: Any, after: reshuffled.State) -> dict[str, Tensor]:
        """Observe chains that have just looked at all data."""
        del before
        at = after.seen
        seen = observed(self.estimand, self.metric, at.position, at.energy, at.whole)
        return seen | self._held(at.position, at.whole)

    def batches(self, before: sgld.State, after: sgld.State) -> dict[str, Tensor]:
        """Observe where chains were, with the gradient there of examples drawn independently of it."""
        z, w = before.position, self.metric.position(before.position)
        seen = {
            "excess": self.estimand.excess(w),
            "radius": self.estimand.radius(w),
            "virial": (z * after.gradient).sum(-1),
        }
        return seen | self._held(z, after.gradient)

    def _held(self, z: Tensor, gradient: Tensor) -> dict[str, Tensor]:
        return {"held": self.held.virial(self.metric.position(z), self.metric.pushed(gradient))}


def observed(
    estimand: Estimand, metric: Metric, z: Tensor, energy: Tensor, gradient: Tensor
) -> dict[str, Tensor]:
    """Return excess, radius and virial ``(chains,)`` from U at *z* and its gradient there."""
    radius = estimand.radius(metric.position(z))
    return {
        "excess": estimand.excess_from(energy, radius),
        "radius": radius,
        "virial": (z * gradient).sum(-1),
    }
