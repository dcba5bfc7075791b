"""Drawing from where warm-up ends, until a standard error is reached: HMC, kinetic Langevin or SGLD."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from workflow.clock import Deadline
from workflow.kernels import chain, hmc, langevin, sgld
from workflow.kernels.diagnostics import drift, ess, rhat
from workflow.kernels.stages import Stages
from workflow.kernels.types import Kernel, Potential
from workflow.tasks.llc.estimand import Estimand
from workflow.tasks.llc.estimate import TRIAL_GATE
from workflow.tasks.llc.warmup import Arrived, trajectories

_STEP = 1.2
"""Of the kinetic Langevin scheme, in units of 1 / sqrt(largest curvature); it is stable up to 2."""

_SETTLING = 64
_REJECTED = 0.03
"""Share of rejected steps up to which the chain is kept exact."""

_SLACK = 4.0
"""Energy errors up to this many of their standard deviations are let pass where more are rejected."""

_FORGETTING = 6.0
"""Time in which momenta of the exact law become those of the scheme, which are colder: 1 - (step / 2)^2."""

_BURN_IN_SHARE = 0.2
_RECORDED = 0.3
"""Time between draws, where every direction has unit scale: nothing changes much in less."""

_SGLD_FRACTION = 0.25
"""Of the stability limit 4 / lambda_max, where the Leimkuhler-Matthews scheme has hardly any bias."""

_SGLD_NOISE = 0.005
"""Largest relative inflation of variances by minibatch noise."""

_SGLD_EVERY = 10
_SGLD_BATCH = 256
_POWER_ITERATIONS = 20
_FIRST_DRAWS = 64
_FEWEST_DRAWS = 128
_MOST_DRAWS = 4096
_DRIFT = 2.5
"""Standard errors between the halves of a run from which on its first half counts as burn-in."""


class Run(NamedTuple):
    """What draws, how often to record, what was chosen, and how many steps to drop first."""

    kernel: Kernel[Any]
    state: Any
    every: int
    observe: Callable[[Any, Any], dict[str, Tensor]]
    settings: dict[str, Any]
    burn_in: int = 0


def by_hmc(estimand: Estimand, arrived: Arrived, generator: Generator) -> Run:
    """Hamiltonian Monte Carlo with the settings of the warm-up."""
    metric = arrived.metric
    settings = trajectories(metric, arrived.step_size, arrived.spread)
    kernel = hmc.build(metric.potential(estimand.energy), settings)
    state = kernel.init(metric.coordinates(arrived.position), generator)
    told = {
        "step_size": arrived.step_size,
        "leapfrog_steps": settings.leapfrog_steps,
        "spread": arrived.spread,
    }
    return Run(kernel, state, 1, _on_all_data(estimand, arrived), told)


def by_langevin(estimand: Estimand, arrived: Arrived, generator: Generator) -> Run:
    """Kinetic Langevin dynamics, at a step that the stiffest direction allows.

    Exact where hardly a step is rejected; elsewhere bulk errors of the energy pass untested and only what
    is out of line is turned back, as it would heat a chain.
    """
    metric = arrived.metric
    potential = metric.potential(estimand.energy)
    z = metric.coordinates(arrived.position)
    stiffest = _largest_curvature(potential, z, generator)
    size = _STEP / math.sqrt(max(1.0, stiffest))  # 1.0 first: a curvature of nan is none
    kernel = langevin.build(potential, langevin.Params(size))
    state, changes, rejected = kernel.init(z, generator), [], []
    for _ in range(_SETTLING):
        state, info = kernel.step(state, generator)
        changes.append(info.energy_change)
        rejected.append(1.0 - info.acceptance)
    share = float(torch.stack(rejected).mean())
    typical = float(torch.stack(changes).abs().median()) / 0.6745  # of a normal distribution
    slack = _SLACK * typical if share > _REJECTED and math.isfinite(typical) else 0.0
    kernel = langevin.build(potential, langevin.Params(size, slack=slack))
    told = {"step_size": size, "largest_curvature": stiffest, "slack": slack}
    observe = _on_all_data(estimand, arrived)
    every, burn_in = max(1, round(_RECORDED / size)), math.ceil(_FORGETTING / size)
    return Run(kernel, state, every, observe, told, burn_in)


def by_sgld(estimand: Estimand, arrived: Arrived, generator: Generator) -> Run:
    """SGLD on minibatches, at a step that curvature and the noise of minibatches allow."""
    metric, batch = arrived.metric, min(_SGLD_BATCH, estimand.n)
    potential = metric.potential(estimand.stochastic_energy(batch))
    z = metric.coordinates(arrived.position)
    stiffest = _largest_curvature(metric.potential(estimand.energy), z, generator)
    noise = float((potential(z, generator)[1] - potential(z, generator)[1]).square().mean()) / 2.0
    size = min(4.0 * _SGLD_FRACTION / stiffest, 4.0 * _SGLD_NOISE / max(noise, 1e-300))
    kernel = sgld.build(potential, potential, sgld.Params(size))

    def observe(before: sgld.State, after: sgld.State) -> dict[str, Tensor]:
        w = metric.position(before.position)
        return {
            "excess": estimand.excess(w),
            "radius": estimand.radius(w),
            "virial": (before.position * after.gradient).sum(-1),
        }

    told = {"step_size": size, "largest_curvature": stiffest, "batch": batch}
    return Run(kernel, kernel.init(z, generator), _SGLD_EVERY, observe, told)


class _Drawing(NamedTuple):
    """Where drawing is.

    Attributes:
        chains: State of the kernel.
        trace: The draws so far.
        every: Steps per recorded draw.
        steps: Steps of the current round; the draws are looked at when they are done.
        done: Steps of them that are done.
        ended: Whether there are enough draws, or no time.
    """

    chains: Any
    trace: chain.Trace
    every: int
    steps: int
    done: int
    ended: bool


def draw(run: Run, stages: Stages, wanted: float, deadline: Deadline) -> chain.Trace:
    """Draw until the relative error is *wanted* or the deadline ends; keep at most 4,096 draws.

    Draws are burn-in as long as the later ones differ from them by more than their errors allow. When
    there are too many draws, every second one is dropped, and one in twice as many steps kept from then
    on: memory does not grow with steps.
    """

    def advance(at: _Drawing) -> _Drawing:
        schedule = chain.Schedule(at.steps, at.every, at.done)
        until = stages.until(deadline)
        chains, part = chain.run(run.kernel, at.chains, stages.stream, schedule, run.observe, until)
        trace, done = chain.extend(at.trace, part), at.done + part.n_steps
        if done < at.steps and not deadline.expired:
            return at._replace(chains=chains, trace=trace, done=done)
        trace = trace._replace(truncated=done < at.steps)
        return _judged(_Drawing(chains, trace, at.every, at.steps, done, ended=False), wanted)

    nothing = chain.Schedule(run.burn_in, every=run.burn_in + 1)
    part = deadline.part(_BURN_IN_SHARE)
    state, burnt = stages.chain(run.kernel, run.state, nothing, lambda _, __: {}, part)
    begin = _Drawing(state, chain.nothing(), run.every, _FIRST_DRAWS * run.every, 0, ended=False)
    trace = stages.through(advance, begin, lambda at: at.ended, _drawn).trace
    return trace._replace(n_steps=burnt.n_steps + trace.n_steps)


def _judged(at: _Drawing, wanted: float) -> _Drawing:
    """Look at the draws after a round: end, drop a burn-in, thin, or plan the next round."""
    trace, every = at.trace, at.every
    excess = trace.values.get("excess")
    if trace.truncated or excess is None or not bool(torch.isfinite(excess).all()):
        return at._replace(ended=True)
    if abs(drift(excess)) > _DRIFT:
        trace = chain.later_half(trace)
    elif _is_enough(excess, wanted):
        return at._replace(ended=True)
    if trace.n_draws >= _MOST_DRAWS:
        trace, every = chain.thinned(trace), 2 * every
    return _Drawing(at.chains, trace, every, every * max(_FIRST_DRAWS, trace.n_draws // 4), 0, ended=False)


def _drawn(at: _Drawing) -> tuple[int, Tensor]:
    return at.trace.n_steps, at.trace.values.get("excess", torch.empty(0, 0))


def _on_all_data(
    estimand: Estimand, arrived: Arrived
) -> Callable[[Any, hmc.State | langevin.State], dict[str, Tensor]]:
    """Return what observes states that know their energy and gradient."""

    def observe(before: Any, after: hmc.State | langevin.State) -> dict[str, Tensor]:
        del before
        radius = estimand.radius(arrived.metric.position(after.position))
        return {
            "excess": estimand.excess_from(after.potential, radius),
            "radius": radius,
            "virial": (after.position * after.gradient).sum(-1),
        }

    return observe


def _is_enough(excess: Tensor, wanted: float) -> bool:
    size = ess(excess)
    return (
        len(excess) >= _FEWEST_DRAWS
        and size >= 2 * TRIAL_GATE.ess
        and float(excess.std()) <= wanted * abs(float(excess.mean())) * math.sqrt(size)
        and rhat(excess) <= TRIAL_GATE.rhat  # last: it sorts all draws
    )


def _largest_curvature(potential: Potential, z: Tensor, generator: Generator) -> float:
    """Return the largest eigenvalue of the Hessian over the chains, by power iteration on gradients."""
    step = 1e-4 if z.dtype == torch.float64 else 1e-2
    _, gradient = potential(z, generator)
    vectors = torch.randn(z.shape, generator=generator, dtype=z.dtype, device=z.device)
    size = vectors.new_ones(len(z))
    for _ in range(_POWER_ITERATIONS):
        vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-30)
        product = (potential(z + step * vectors, generator)[1] - gradient) / step
        size, vectors = product.norm(dim=1), product
    return float(size.max())
