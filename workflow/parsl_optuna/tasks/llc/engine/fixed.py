"""What methods with fixed settings share: annealed starts, warm-up, draws, summary."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from torch import Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain
from parsl_optuna.kernels.adapt import WarmedUp, WarmUp
from parsl_optuna.kernels.types import Kernel
from parsl_optuna.tasks.base import Metrics
from parsl_optuna.tasks.llc.answer.observables import observed
from parsl_optuna.tasks.llc.answer.summary import drawn, summarise
from parsl_optuna.tasks.llc.answer.verdict import TRIAL_GATE, Nature
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.start import annealed
from parsl_optuna.tasks.llc.problem.estimand import Estimand

_ANNEAL_SHARE = 0.2
"""Of the budget, at most, for annealed starts."""

_WARM_UP_SHARE = 0.4
"""Of the budget, at most; the draws should have more than half of it."""


_BIAS = 0.25
"""Relative bias of the LLC over the cube root of the energy variance per dimension: with the step they grow
as h^2 and h^6. It was 0.15 to 0.28 on five targets (`benchmarks.coverage`, energy variance 5e-4).
"""


class HasGradient(Protocol):
    """A state that knows U on all data and its gradient."""

    @property
    def position(self) -> Tensor:
        """``(chains, dim)``."""
        ...

    @property
    def potential(self) -> Tensor:
        """``(chains,)``."""
        ...

    @property
    def gradient(self) -> Tensor:
        """``(chains, dim)``."""
        ...


S = TypeVar("S", bound=HasGradient)


@dataclass(frozen=True)
class Fixed:
    """A run with fixed settings: what it samples, its stages, and its budget."""

    estimand: Estimand
    stages: Stages
    deadline: Deadline

    def start(self, chains: int) -> Tensor:
        """Draw annealed starts ``(chains, dim)``: near w* chains would lack the width of flat directions."""
        return annealed(self.estimand, chains, self.stages, self.deadline.part(_ANNEAL_SHARE))

    def warm_up(self, run: WarmUp[S], position: Tensor) -> WarmedUp[S]:
        """Warm up from *position* ``(chains, dim)``."""
        return self.stages.warm_up(run, position, self.deadline.part(_WARM_UP_SHARE))

    def draws(self, kernel: Kernel[S], state: S, n_draws: int) -> tuple[S, chain.Trace]:
        """Draw *n_draws* times, and observe each draw."""
        schedule = chain.Schedule(n_draws)
        return self.stages.chain(kernel, state, schedule, self._observe, self.deadline)

    def summarise(
        self,
        trace: chain.Trace,
        warm_up_steps: int,
        settings: dict[str, Any],
        nature: Nature,
    ) -> Metrics:
        """Return the metrics; an energy limit means that no step is tested."""
        is_tested = nature.energy_limit is None
        found = drawn(trace, warm_up_steps, settings, nature, is_tested=is_tested)
        if not is_tested and trace.n_draws:
            error = float(trace.energy_change.square().mean()) / self.estimand.dim
            excess = found.traces.excess
            bias = _BIAS * error ** (1 / 3) * abs(float(excess.mean())) if excess.numel() else 0.0
            found = replace(found, energy_variance=error, step_bias=bias)
        return summarise(self.estimand, found, TRIAL_GATE)

    def _observe(self, before: object, after: HasGradient) -> dict[str, Tensor]:
        del before
        virial = ((after.position - self.estimand.centre) * after.gradient).sum(-1)
        return observed(self.estimand, after.position, after.potential, virial)
