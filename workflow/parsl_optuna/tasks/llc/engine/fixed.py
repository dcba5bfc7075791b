"""What methods with fixed settings share: warm-up, draws, summary; and how a reference is mended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from torch import Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain
from parsl_optuna.kernels.adapt import WarmedUp, WarmUp
from parsl_optuna.kernels.diagnostics import drift, ess, mcse, rhat
from parsl_optuna.kernels.types import Kernel
from parsl_optuna.tasks.base import Metrics
from parsl_optuna.tasks.llc.answer.observables import observed
from parsl_optuna.tasks.llc.answer.summary import drawn, summarise
from parsl_optuna.tasks.llc.answer.verdict import REFERENCE_GATE, TRIAL_GATE, Gate, Nature
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.start import annealed
from parsl_optuna.tasks.llc.problem.estimand import Estimand

_ANNEAL_SHARE = 0.2
"""Of the budget, at most, for annealed starts."""

_WARM_UP_SHARE = 0.4
"""Of the budget, at most; the draws should have more than half of it."""

_PILOT_DRAWS, _PILOT_TRIES = 250, 6
"""Draws that show whether 0.1 % of them diverge, and how often the step is shortened: to 5 % in all."""

_RESTARTS = 3
"""How often a whole run is drawn again with a shorter step; each costs as much as the one before, or more."""

_SHORTER = 0.6
"""Factor on the step size when trajectories diverge; the steps that it takes grow by as much."""


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

    def draws(
        self, kernel: Kernel[S], state: S, n_draws: int, deadline: Deadline | None = None
    ) -> tuple[S, chain.Trace]:
        """Draw *n_draws* times, and observe each draw."""
        schedule = chain.Schedule(n_draws)
        return self.stages.chain(kernel, state, schedule, self._observe, deadline or self.deadline)

    def summarise(
        self,
        trace: chain.Trace,
        warm_up_steps: int,
        settings: dict[str, Any],
        nature: Nature,
        gate: Gate = TRIAL_GATE,
    ) -> Metrics:
        """Return the metrics; an energy limit means that no step is tested."""
        is_tested = nature.energy_limit is None
        found = drawn(trace, warm_up_steps, settings, nature, is_tested=is_tested)
        if not is_tested and trace.n_draws:
            error = float(trace.energy_change.square().mean()) / self.estimand.dim
            found = replace(found, energy_variance=error)
        return summarise(self.estimand, found, gate)

    def until_passed(
        self, warm_up: WarmUp[S], position: Tensor, n_draws: int, most_draws: int, leapfrog_steps: int
    ) -> Metrics:
        """Draw until the gate of a reference is passed, *most_draws* are reached or the budget ends."""
        warm = self._without_divergences(warm_up.make, self.warm_up(warm_up, position))
        begun = self.deadline.used_sec
        kernel = warm_up.make(warm.step_size, warm.variances)
        state, trace = self.draws(kernel, warm.state, n_draws)
        for _ in range(_RESTARTS):
            took = self.deadline.used_sec - begun
            if trace.truncated or not _diverges(trace) or self.deadline.left_sec < took / _SHORTER:
                break
            warm = warm._replace(state=state, step_size=_SHORTER * warm.step_size)
            begun, kernel = self.deadline.used_sec, warm_up.make(warm.step_size, warm.variances)
            state, trace = self.draws(kernel, warm.state, n_draws)
        while not trace.truncated and trace.n_draws < most_draws and not _passes(trace):
            more = min(max(trace.n_draws // 2, 1), most_draws - trace.n_draws)
            state, extra = self.draws(kernel, state, more)
            trace = chain.extend(trace, extra)
        settings = {"step_size": warm.step_size, "leapfrog_steps": leapfrog_steps}
        return self.summarise(trace, warm.n_steps, settings, Nature(is_exact=True), REFERENCE_GATE)

    def _without_divergences(
        self, make: Callable[[float, Tensor], Kernel[S]], warm: WarmedUp[S]
    ) -> WarmedUp[S]:
        """Shorten the step until pilot draws hardly diverge: narrow arms need less than the average.

        A mean acceptance on target can hide trajectories that always fail in some region.
        """
        deadline = self.deadline.part(_WARM_UP_SHARE)
        for _ in range(_PILOT_TRIES):
            kernel = make(warm.step_size, warm.variances)
            state, trace = self.draws(kernel, warm.state, _PILOT_DRAWS, deadline)
            warm = warm._replace(state=state, n_steps=warm.n_steps + trace.n_steps)
            if trace.truncated or not _diverges(trace):
                break
            warm = warm._replace(step_size=_SHORTER * warm.step_size)
        return warm

    def _observe(self, before: object, after: HasGradient) -> dict[str, Tensor]:
        del before
        virial = ((after.position - self.estimand.centre) * after.gradient).sum(-1)
        return observed(self.estimand, after.position, after.potential, virial)


def _diverges(trace: chain.Trace) -> bool:
    return float(trace.diverged.double().mean()) > REFERENCE_GATE.divergences


def _passes(trace: chain.Trace) -> bool:
    excess = trace.values["excess"]
    return (
        rhat(excess) <= REFERENCE_GATE.rhat
        and ess(excess) >= REFERENCE_GATE.ess
        and abs(drift(excess)) <= REFERENCE_GATE.drift
        and mcse(excess) <= REFERENCE_GATE.relative_error * abs(float(excess.mean()))
    )
