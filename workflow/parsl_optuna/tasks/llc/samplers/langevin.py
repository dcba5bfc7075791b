"""Kinetic Langevin dynamics, the default of `auto`: on all data, or on minibatches without replacement.

Exact where hardly a step is rejected. Elsewhere small errors of the energy pass untested and only what is
out of line is rejected, as it would bias a chain; there a step may also use a minibatch only.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from parsl_optuna.tasks.llc.samplers.base import Automatic, later

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor

    from parsl_optuna.kernels import langevin, random_reshuffling
    from parsl_optuna.kernels.types import Kernel
    from parsl_optuna.tasks.llc.answer import observables
    from parsl_optuna.tasks.llc.engine import draw, kinks, minibatches, warmup
    from parsl_optuna.tasks.llc.engine.stages import Stages
    from parsl_optuna.tasks.llc.problem.estimand import Estimand
else:
    torch, langevin, random_reshuffling = later("torch", "kernels.langevin", "kernels.random_reshuffling")
    (observables,) = later("tasks.llc.answer.observables")
    draw, kinks, minibatches, warmup = later(
        *(f"tasks.llc.engine.{name}" for name in ("draw", "kinks", "minibatches", "warmup"))
    )

_SETTLING, _THINNING = 64, 8
"""Number of settling steps, and the thinning used while monitoring them: 8 states, 64 energy errors per
chain.
"""

_NEGLIGIBLE = 0.001
"""Relative excess of the kinetic energy over that of the scheme below which momenta count as settled."""

_RECORDED = 0.3
"""Time between draws, where every direction has unit scale: an oscillator turns by 0.3 rad, draws are
alike.
"""

_MOST_APART = 16
"""Steps between draws at most: a draw costs about as much as a step."""

_LOOKS = 8
"""Energy errors per chain, of several steps each, that a rejection threshold is estimated from."""

_STEPS_PER_MINIBATCH = 3
"""Steps between draws at least, per minibatch of an epoch: a draw evaluates all of the data."""


def build(estimand: Estimand, arrived: warmup.Arrived, stages: Stages, goal: draw.Goal) -> draw.Run:
    """Take the step that the stiffest direction allows; exact, thresholded or on minibatches."""
    metric, generator = arrived.metric, stages.stream
    observer = observables.Observer(estimand, metric, arrived.loss_coordinates)
    potential = metric.potential(estimand.energy)
    z = metric.coordinates(arrived.position)
    size = warmup.stable_step(potential, z, generator)
    params = langevin.Params(size, friction=warmup.friction(z))
    settled = _settled(langevin.build(potential, params), z, generator)
    is_tested = settled.rejected > kinks.REJECTED and kinks.has_kinks(
        potential, params, settled.states, generator
    )
    if is_tested:
        params = kinks.tested(potential, params, settled.states[-1], generator)
        settled = _settled(langevin.build(potential, params), settled.states[-1].position, generator)
    elif settled.rejected > kinks.REJECTED:
        run = _on_minibatches(observer, settled.states, params, goal, generator)
        if run is not None:
            return run
        threshold = langevin.rejection_threshold(settled.changes)
        params = replace(params, rejection_threshold=threshold)
    return draw.Run(
        langevin.build(potential, params),
        settled.states[-1],
        _apart(params),
        observer.all_data,
        observer.known,
        _chosen(params),
        is_exact=is_tested or settled.rejected <= kinks.REJECTED,
        burn_in=_settling(params),
    )


class _Settled(NamedTuple):
    """What a few steps showed: some states, energy errors ``(steps, chains)``, and the share rejected."""

    states: list[langevin.State]
    changes: Tensor
    rejected: float


def _settled(kernel: Kernel[langevin.State], z: Tensor, generator: Generator) -> _Settled:
    state, states, infos = kernel.init(z, generator), [], []
    for done in range(1, _SETTLING + 1):
        state, info = kernel.step(state, generator)
        infos.append(info)
        if done % _THINNING == 0:
            states.append(state)
    acceptance = torch.stack([info.acceptance for info in infos])
    changes = torch.stack([info.energy_change for info in infos])
    return _Settled(states, changes, 1.0 - float(acceptance.mean()))


def _on_minibatches(
    observer: observables.Observer,
    states: list[langevin.State],
    motion: langevin.Motion,
    goal: draw.Goal,
    generator: Generator,
) -> draw.Run | None:
    """Return what draws by steps on minibatches without replacement, if those cost less."""
    estimand, metric = observer.estimand, observer.metric
    noise = minibatches.measured(estimand, metric, states, generator)
    if noise is None:
        return None
    typical = abs(float(torch.cat([observer.all_data(None, state)["excess"] for state in states]).mean()))
    count = minibatches.best_count(noise, motion, goal.relative_error * typical)
    if count == 1:
        return None
    parts = [metric.potential(part) for part in estimand.parts(count, generator)]
    energies = random_reshuffling.Energies(parts, metric.potential(estimand.energy))
    every = max(_apart(motion), _STEPS_PER_MINIBATCH * count)
    every += every % count == 0  # so that draws see every phase of an epoch
    params = random_reshuffling.Params(motion.step_size, motion.friction, every)
    state, changes = _looked_at(random_reshuffling.build(energies, params), states[-1].position, generator)
    params = replace(params, rejection_threshold=langevin.rejection_threshold(changes))
    bias = noise.bias(count, motion) / typical
    chosen = {**_chosen(params), "minibatches": count, "gradient_noise_bias": bias}
    burn_in = every * math.ceil(_settling(motion) / every)
    kernel = random_reshuffling.build(energies, params)
    return draw.Run(kernel, state, every, observer.minibatches, observer.known, chosen, False, burn_in, bias)


def _looked_at(
    kernel: Kernel[random_reshuffling.State], z: Tensor, generator: Generator
) -> tuple[random_reshuffling.State, Tensor]:
    """Return the state after a few looks at the energy, and the errors ``(looks, chains)`` seen."""
    state, changes = kernel.init(z, generator), []
    while len(changes) < _LOOKS:
        state, info = kernel.step(state, generator)
        if state.steps == 0:
            changes.append(info.energy_change)
    return state, torch.stack(changes)


def _chosen(params: langevin.Params | random_reshuffling.Params) -> dict[str, Any]:
    """Return what was chosen; of the chains' rejection thresholds the largest."""
    largest = float(torch.as_tensor(params.rejection_threshold, device="cpu").max())
    return {**asdict(params), "rejection_threshold": largest}


def _apart(motion: langevin.Motion) -> int:
    """Return steps between draws."""
    return min(_MOST_APART, max(1, round(_RECORDED / motion.step_size)))


def _settling(motion: langevin.Motion) -> int:
    """Return steps in which momenta of the exact law become those of the scheme.

    BAOAB at step h samples momenta of temperature 1 - (h f / 2)^2 along a direction of frequency f
    (Leimkuhler & Matthews 2013), and momenta relax at the rate of the friction.
    """
    colder = 0.25 * motion.step_size**2
    return math.ceil(max(0.0, math.log(colder / _NEGLIGIBLE)) / (motion.friction * motion.step_size))


AUTOMATIC = Automatic(build, warm_up_share=0.4)
