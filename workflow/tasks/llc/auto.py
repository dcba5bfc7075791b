"""The LLC without settings: starts, coordinates, step size, burn-in and length are found, not given.

Chains start annealed, a Hamiltonian warm-up learns coordinates in which the posterior is round, until
the virial identity says that they have arrived; then HMC or SGLD draws until the wanted error.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from workflow.clock import Deadline
from workflow.kernels import chain, hmc, sgld
from workflow.kernels.adapt import DualAveraging
from workflow.kernels.diagnostics import drift, ess, rhat
from workflow.kernels.metric import Metric, fit, isotropic
from workflow.kernels.stages import Tell
from workflow.kernels.types import Kernel, Potential
from workflow.store.atomic import write_bytes
from workflow.tasks.llc.anneal import annealed
from workflow.tasks.llc.estimand import Estimand
from workflow.tasks.llc.estimate import TRIAL_GATE, Draws, finite_chains, summarise
from workflow.tasks.llc.params import Auto

_WINDOWS = (10, 15, 25, 40)
_MORE_WINDOWS = 4
_SETTLING = 12
_WARM_UP_SHARE = 0.4
_ANNEAL_SHARE = 0.5
"""Of the warm-up."""

_TRAJECTORY = 1.5
"""Length of a trajectory where every direction has unit scale: about a quarter of a period."""

_MOST_LEAPFROGS = 64
_ACCEPT = 0.8
_SPREAD = 6.0
_STUCK = 0.05
"""Share of hopeless proposals from which on step sizes are spread out."""

_ARRIVED = 0.03
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

_CHAIN_ELEMENTS = 2**14
"""Chains times parameters, or times examples, from which on more chains cost proportionally more."""

_TELL_SEC = 1.0
_PICTURE_DRAWS, _PICTURE_CHAINS = 512, 32


class Arrived(NamedTuple):
    """Where warm-up ends: equilibrated chains in coordinates that fit them."""

    metric: Metric
    position: Tensor
    step_size: float
    spread: float
    n_steps: int


def run_auto(
    estimand: Estimand, params: Auto, generator: Generator, deadline: Deadline, tell: Tell
) -> tuple[dict[str, Any], chain.Trace]:
    """Return the metrics of `summarise` and the draws they come from.

    Args:
        estimand: What to estimate.
        params: How well, with which kernel.
        generator: Source of randomness.
        deadline: The budget; the estimate so far is returned when it ends.
        tell: Called with the draws so far, about once a second.
    """
    begun = deadline.used_sec
    arrived = warm_up(estimand, params, generator, deadline.part(_WARM_UP_SHARE))
    warm_sec = deadline.used_sec - begun
    produce = _hmc_draws if params.kernel == "hmc" else _sgld_draws
    trace, settings = produce(estimand, params, arrived, generator, deadline, tell)
    traces, lost = finite_chains(trace.values)
    draws = Draws(
        traces,
        acceptance=float(trace.acceptance.mean()) if trace.n_draws and params.kernel == "hmc" else None,
        divergences=float(trace.diverged.double().mean()) if trace.n_draws else 0.0,
        lost_chains=lost,
        n_steps=arrived.n_steps + trace.n_steps,
        truncated=trace.truncated,
        settings={**settings, "warmup_sec": warm_sec, "directions": len(arrived.metric.stretch)},
    )
    return summarise(estimand, draws, TRIAL_GATE), trace


def save_trace(trace: chain.Trace, gamma: float, folder: Path) -> None:
    """Write ``trace.npz`` for pictures: at most 512 draws of at most 32 chains.

    ``excess`` is t (L - L0) and ``distance`` is |w - w*|, both ``(draws, chains)`` in single precision.
    """
    every = max(1, trace.n_draws // _PICTURE_DRAWS)
    excess = trace.values["excess"][::every, :_PICTURE_CHAINS]
    radius = trace.values["radius"][::every, :_PICTURE_CHAINS]
    distance = (2.0 / gamma * radius).sqrt()
    stream = io.BytesIO()
    np.savez(stream, excess=excess.float().numpy(), distance=distance.float().numpy())
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "trace.npz", stream.getvalue())


def chains_for(params: Auto, estimand: Estimand) -> int:
    """Return the number of chains: many where one gradient costs less than calling it."""
    size = max(estimand.dim, estimand.n if estimand.target.loss.has_data else 0)
    return params.chains or min(256, max(8, 2 ** int(math.log2(max(1, _CHAIN_ELEMENTS / size)))))


def warm_up(estimand: Estimand, params: Auto, generator: Generator, deadline: Deadline) -> Arrived:
    """Anneal, then run HMC in windows; each learns coordinates from the one before it."""
    chains = chains_for(params, estimand)
    position = annealed(estimand, chains, generator, deadline.part(_ANNEAL_SHARE))
    metric = isotropic(estimand.centre, estimand.gamma**-0.5)
    window = _Window(estimand, generator, deadline)
    step_size, spread, done = 0.1 * estimand.dim**-0.25, 1.0, 0
    for index in range(len(_WINDOWS) + _MORE_WINDOWS):
        n_steps = _WINDOWS[min(index, len(_WINDOWS) - 1)]
        seen = window.run(metric, position, step_size, spread, n_steps)
        position, step_size, done = seen.position, seen.step_size, done + seen.n_steps
        spread = _SPREAD if seen.stuck > _STUCK else spread
        if index + 1 >= len(_WINDOWS) and abs(seen.virial - 1.0) < _ARRIVED:
            break
        metric = fit(seen.positions, seen.gradients, metric)
        step_size = min(1.0, 2.0 * step_size) if index else 0.5 * estimand.dim**-0.25
        if deadline.expired:  # these coordinates are new: their step size is still to be found
            window = _Window(estimand, generator, Deadline(0.5 * deadline.budget_sec, deadline.now))
            seen = window.run(metric, position, step_size, spread, _SETTLING)
            position, step_size, done = seen.position, seen.step_size, done + seen.n_steps
            break
    return Arrived(metric, position, step_size, spread, done)


class _Seen(NamedTuple):
    """What a window saw; positions and gradients ``(draws, dim)`` of its last three quarters."""

    position: Tensor
    positions: Tensor
    gradients: Tensor
    step_size: float
    stuck: float
    virial: float
    n_steps: int


@dataclass(frozen=True)
class _Window:
    """Runs HMC in given coordinates while the step size settles."""

    estimand: Estimand
    generator: Generator
    deadline: Deadline

    def run(self, metric: Metric, position: Tensor, step_size: float, spread: float, n_steps: int) -> _Seen:
        """Take *n_steps* draws, or as many as the deadline allows."""
        potential = metric.potential(self.estimand.energy)
        rule = DualAveraging(_ACCEPT)
        rule.restart(step_size)
        state = hmc.init(metric.coordinates(position), self.generator, potential=potential)
        kept, stuck, virials, done = [state], [], [], 0
        for done in range(1, n_steps + 1):
            settings = _settings(metric, step_size, spread)
            state, info = hmc.step(state, self.generator, potential=potential, params=settings)
            step_size = rule.update(info)
            stuck.append(float((info.acceptance < 0.05).double().mean()))
            virials.append(float((state.position * state.gradient).sum(-1).mean()) / self.estimand.dim)
            if done > n_steps // 4:
                kept.append(state)
            if self.deadline.expired:
                break
        kept = kept[1:] or [state]
        later = slice(done // 2, None)
        return _Seen(
            metric.position(state.position),
            torch.cat([metric.position(entry.position) for entry in kept]),
            torch.cat([metric.pushed(entry.gradient) for entry in kept]),
            rule.final(),
            _mean(stuck[later]),
            _mean(virials[later]),
            done,
        )


def _settings(metric: Metric, step_size: float, spread: float) -> hmc.Params:
    leapfrogs = max(1, min(_MOST_LEAPFROGS, round(_TRAJECTORY / step_size)))
    return hmc.Params(step_size, torch.ones_like(metric.sd), leapfrogs, spread)


def _hmc_draws(
    estimand: Estimand,
    params: Auto,
    arrived: Arrived,
    generator: Generator,
    deadline: Deadline,
    tell: Tell,
) -> tuple[chain.Trace, dict[str, Any]]:
    metric = arrived.metric
    settings = _settings(metric, arrived.step_size, arrived.spread)
    kernel = hmc.build(metric.potential(estimand.energy), settings)
    state = kernel.init(metric.coordinates(arrived.position), generator)

    def observe(before: hmc.State, after: hmc.State) -> dict[str, Tensor]:
        del before
        radius = estimand.radius(metric.position(after.position))
        return {
            "excess": estimand.excess_from(after.potential, radius),
            "radius": radius,
            "virial": (after.position * after.gradient).sum(-1),
        }

    trace = _until(kernel, state, generator, observe, params.relative_error, deadline, tell, 1)
    return trace, {
        "step_size": arrived.step_size,
        "leapfrog_steps": settings.leapfrog_steps,
        "spread": arrived.spread,
    }


def _sgld_draws(
    estimand: Estimand,
    params: Auto,
    arrived: Arrived,
    generator: Generator,
    deadline: Deadline,
    tell: Tell,
) -> tuple[chain.Trace, dict[str, Any]]:
    metric, batch = arrived.metric, min(_SGLD_BATCH, estimand.n)
    potential = metric.potential(estimand.stochastic_energy(batch))
    z = metric.coordinates(arrived.position)
    stiffest = _largest_curvature(metric.potential(estimand.energy), z, generator)
    noise = float((potential(z, generator)[1] - potential(z, generator)[1]).square().mean()) / 2.0
    limits = (4.0 * _SGLD_FRACTION / stiffest, 4.0 * _SGLD_NOISE / max(noise, 1e-300))
    kernel = sgld.build(potential, potential, sgld.Params(min(limits)))

    def observe(before: sgld.State, after: sgld.State) -> dict[str, Tensor]:
        w = metric.position(before.position)
        return {
            "excess": estimand.excess(w),
            "radius": estimand.radius(w),
            "virial": (before.position * after.gradient).sum(-1),
        }

    state = kernel.init(z, generator)
    trace = _until(kernel, state, generator, observe, params.relative_error, deadline, tell, _SGLD_EVERY)
    return trace, {"step_size": min(limits), "largest_curvature": stiffest, "batch": batch}


def _until(
    kernel: Kernel[Any],
    state: Any,
    generator: Generator,
    observe: Callable[[Any, Any], dict[str, Tensor]],
    wanted: float,
    deadline: Deadline,
    tell: Tell,
    every: int,
) -> chain.Trace:
    """Draw until the relative error is reached or the deadline ends; keep at most 4,096 draws.

    Draws are burn-in as long as the later ones differ from them by more than their errors allow. When
    there are too many draws, every second one is dropped, and one in twice as many steps kept from then
    on: memory does not grow with steps.
    """
    trace, more, told = None, _FIRST_DRAWS, time.monotonic()
    while True:
        schedule = chain.Schedule(more * every, every)
        state, part = chain.run(kernel, state, generator, schedule, observe, deadline)
        trace = part if trace is None else chain.extend(trace, part)
        if time.monotonic() - told > _TELL_SEC:
            tell(trace.n_steps, trace.values["excess"])
            told = time.monotonic()
        if part.truncated or not bool(torch.isfinite(part.values["excess"]).all()):
            return trace
        if abs(drift(trace.values["excess"])) > _DRIFT:
            trace = chain.later_half(trace)
        elif _is_enough(trace.values["excess"], wanted):
            return trace
        if trace.n_draws >= _MOST_DRAWS:
            trace, every = chain.thinned(trace), 2 * every
        more = max(_FIRST_DRAWS, trace.n_draws // 4)


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


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
