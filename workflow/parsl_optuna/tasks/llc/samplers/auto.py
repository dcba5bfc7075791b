"""The method without settings: any sampler that has an `AUTOMATIC`, on chains that warmed themselves up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.space import Categorical, Dimension
from parsl_optuna.tasks.llc import samplers
from parsl_optuna.tasks.llc.samplers.base import Direct, Method, check_positive, later

if TYPE_CHECKING:
    from parsl_optuna.core.clock import Deadline
    from parsl_optuna.kernels import chain
    from parsl_optuna.tasks.base import Metrics, Work
    from parsl_optuna.tasks.llc.engine import auto
    from parsl_optuna.tasks.llc.engine.stages import Stages
    from parsl_optuna.tasks.llc.problem.estimand import Estimand
else:
    (auto,) = later("tasks.llc.engine.auto")

_FEWEST_CHAINS = 4
"""R-hat compares chains; Vehtari et al. (2021), arXiv:1903.08008, ask for at least four."""


@dataclass(frozen=True)
class Params:
    """A run that chooses its own settings, and stops at a standard error of *relative_error* times the LLC.

    *kernel* names the sampler: ``langevin`` gains most per gradient, ``hmc`` is exact, and ``nuts`` with
    trajectories that end where they turn; ``sgld`` uses minibatches; ``laplace`` weighs draws of the normal
    approximation at w*, and ``smc`` populations by their evidence, both without chains. *chains* null means
    8 to 256, more for small models.
    """

    kernel: str = "langevin"
    relative_error: float = 0.005
    chains: int | None = None

    def __post_init__(self) -> None:
        kernels = samplers.automatic()
        if self.kernel not in kernels:
            raise SpecError(f"no kernel '{self.kernel}'; {nearest(self.kernel, kernels)}")
        check_positive(self, "relative_error")
        if self.chains is not None and isinstance(kernels[self.kernel], Direct):
            raise SpecError(f"chains {self.chains}: kernel '{self.kernel}' has none; leave it out")
        if self.chains is not None and self.chains < _FEWEST_CHAINS:
            raise SpecError(f"chains {self.chains} must be at least {_FEWEST_CHAINS}: R-hat compares them")


def space(n: int) -> dict[str, Dimension]:
    """Return the default search space; the default kernel first."""
    del n
    default = Params().kernel
    return {"kernel": Categorical((default, *(name for name in samplers.automatic() if name != default)))}


def estimate(
    estimand: Estimand, params: Params, stages: Stages, deadline: Deadline, *, sparing: bool = False
) -> tuple[Metrics, chain.Trace]:
    """Return the metrics and the draws they come from; see `engine.auto.estimate`."""
    chosen = samplers.automatic()[params.kernel]
    if isinstance(chosen, Direct):
        return chosen.estimate(estimand, params.relative_error, stages, deadline)
    n_chains = params.chains or auto.chains_for(estimand)
    return auto.estimate(estimand, chosen, n_chains, params.relative_error, stages, deadline, sparing=sparing)


def run(estimand: Estimand, params: Params, stages: Stages, work: Work) -> Metrics:
    """Estimate the LLC, and leave ``trace.npz`` for pictures."""
    metrics, trace = estimate(estimand, params, stages, work.deadline)
    if work.files is not None and trace.n_draws:
        auto.save_trace(auto.pictured(trace, estimand.gamma), work.files)
    return metrics


METHOD = Method(Params, space, run)
