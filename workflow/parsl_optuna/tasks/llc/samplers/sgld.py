"""Stochastic gradient Langevin dynamics: with given steps, and at the step that curvature allows (`auto`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.space import Categorical, Dimension, Float, Int
from parsl_optuna.tasks.llc.samplers.base import CHAINS, Automatic, Method, batches, check_positive, later

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor

    from parsl_optuna.kernels import chain, sgld
    from parsl_optuna.kernels.metric import Metric
    from parsl_optuna.tasks.base import Metrics, Work
    from parsl_optuna.tasks.llc.answer import observables, summary, verdict
    from parsl_optuna.tasks.llc.engine import draw, fixed
    from parsl_optuna.tasks.llc.engine.stages import Stages
    from parsl_optuna.tasks.llc.engine.warmup import Arrived
    from parsl_optuna.tasks.llc.problem import curvature
    from parsl_optuna.tasks.llc.problem.estimand import Estimand
else:
    torch, chain, sgld = later("torch", "kernels.chain", "kernels.sgld")
    draw, fixed, curvature = later(
        "tasks.llc.engine.draw", "tasks.llc.engine.fixed", "tasks.llc.problem.curvature"
    )
    observables, summary, verdict = later(
        *(f"tasks.llc.answer.{name}" for name in ("observables", "summary", "verdict"))
    )

_BURN_IN_SHARE = 0.5
"""Of the budget, at most; the rest is for draws."""

_FRACTION = (0.4, 0.5)
"""Step of `auto`, of the stability limit 4 / lambda_max; less where curvatures differ, as chains come to
stiffer places.

The Leimkuhler-Matthews scheme has hardly any bias up to there; at 0.87 of the limit its tails are too wide
(measured).
"""

_NOISE_SHARE = 0.5
"""Of the wanted error, what the stochastic-gradient bias of the LLC may be at most."""

_FEWEST_STEPS, _PASSES = 10, 0.7
"""Steps between draws at least, and passes through the data between them; a draw costs half as much as
these.
"""

_PROBED, _FEWEST_EXAMPLES = 256, 32
"""Examples by which the gradient noise is measured, and the fewest of a minibatch: less saves no time in
one call.
"""


@dataclass(frozen=True)
class Params:
    """SGLD with step eta0 (1 + t/t0)^-gamma; the loss on all data is evaluated each *eval_every* steps.

    *burn_in* is the share of the steps that is dropped, in which a preconditioner learns.
    """

    chains: int = 4
    eta0: float = 1e-3
    gamma: float = 0.33
    t0: float = 1000.0
    batch: int = 64
    precond_type: Literal["none", "rmsprop", "adam"] = "none"
    steps: int = 10_000
    burn_in: float = 0.3
    eval_every: int = 10
    noise: Literal["leimkuhler_matthews", "euler"] = "leimkuhler_matthews"

    def __post_init__(self) -> None:
        check_positive(self, "chains", "eta0", "t0", "batch", "steps", "eval_every")
        if not 0 <= self.burn_in < 1:
            raise SpecError(f"burn_in {self.burn_in} must be in [0, 1)")
        if self.gamma < 0:
            raise SpecError(f"gamma {self.gamma} must be at least 0")


def space(n: int) -> dict[str, Dimension]:
    """Return the default search space."""
    return {
        "chains": CHAINS,
        "eta0": Float(1e-6, 1e-1, log=True),
        "gamma": Float(0.0, 1.0),
        "batch": Categorical(batches(n)),
        "precond_type": Categorical(("none", "rmsprop", "adam")),
        "steps": Int(5000, 20000, step=1000),
    }


def run(estimand: Estimand, params: Params, stages: Stages, work: Work) -> Metrics:
    """Burn in, freeze the preconditioner, then average over time, which is steps x step size."""
    burn_in = int(params.burn_in * params.steps)
    settings = sgld.Params(params.eta0, params.gamma, params.t0, params.precond_type, burn_in, params.noise)
    kernel = sgld.build(
        estimand.stochastic_energy(params.batch), estimand.stochastic_loss(params.batch), settings
    )
    position = fixed.Fixed(estimand, stages, work.deadline).start(params.chains)
    state = kernel.init(position, stages.stream)
    nothing = chain.Schedule(burn_in, every=burn_in + 1)
    state, burnt = stages.chain(kernel, state, nothing, lambda _, __: {}, work.deadline.part(_BURN_IN_SHARE))

    def observe(before: sgld.State, after: sgld.State) -> dict[str, Tensor]:
        # The gradient of the move belongs to the position before it, on a minibatch that is
        # independent of that position: an unbiased virial.
        w = before.position
        virial = ((w - estimand.centre) * after.gradient).sum(-1)
        seen = {"excess": estimand.excess(w), "radius": estimand.radius(w), "virial": virial}
        return seen | {observables.HEAT: sgld.heat(before, after, settings)}

    schedule = chain.Schedule(params.steps - burn_in, params.eval_every)
    state, trace = stages.chain(kernel, state, schedule, observe, work.deadline)
    first = burnt.n_steps + params.eval_every - 1
    times = [first + params.eval_every * i for i in range(trace.n_draws)]
    sizes = torch.tensor([sgld.step_size(settings, at) for at in times], dtype=torch.float64, device="cpu")
    found = summary.Draws(
        *summary.finite_chains(trace.values),
        weights=sizes,
        n_steps=burnt.n_steps + trace.n_steps,
        truncated=burnt.truncated or trace.truncated,
        settings={"last_step_size": sgld.step_size(settings, burnt.n_steps + trace.n_steps)},
    )
    if trace.n_draws:
        # A checkpoint of an earlier version has no heat; the virial has the same mean, and more noise.
        heat = _mean(trace.values.get(observables.HEAT, trace.values["virial"] - estimand.dim), sizes)
        # Half of it, as of a quadratic loss: on singular ones 0.9 to 1.1 times that (measured). Chance is not
        # taken off: what long steps add comes in bursts, which a run may have missed.
        bias = 0.5 * abs(heat)
        found = replace(found, step_bias=bias, heat=heat, settings={**found.settings, "step_bias": bias})
    return summary.summarise(estimand, found, verdict.TRIAL_GATE)


def _mean(heat: Tensor, sizes: Tensor) -> float:
    """Return the mean of *heat* ``(draws, chains)`` over time and the chains that stayed finite."""
    heat = heat[:, torch.isfinite(heat).all(0)]
    return float(sizes.to(heat) @ heat.mean(1) / sizes.sum()) if heat.numel() else 0.0


METHOD = Method(Params, space, run)


def build(estimand: Estimand, arrived: Arrived, stages: Stages, goal: draw.Goal) -> draw.Run:
    """Take the step that curvature allows, on minibatches as large as that step needs them."""
    metric, generator = arrived.metric, stages.stream
    z = metric.coordinates(arrived.position)
    curvatures = curvature.largest_curvatures(metric.potential(estimand.energy), z, generator)
    stiffest = float(curvatures.max())
    room = min(max(float(curvatures.median()) / stiffest, _FRACTION[0]), _FRACTION[1])
    room *= goal.shortened
    size = 4.0 * room / stiffest
    effective = size / (1.0 - room)  # noise lingers where a step hardly contracts
    allowed = _NOISE_SHARE * goal.relative_error
    batch, bias = _minibatch(estimand, metric, z, effective, allowed, generator)
    potential = metric.potential(estimand.stochastic_energy(batch))
    settings = sgld.Params(size)
    kernel = sgld.build(potential, potential, settings)
    chosen = {"step_size": size, "largest_curvature": stiffest, "batch": batch, "gradient_noise_bias": bias}
    every = max(_FEWEST_STEPS, round(_PASSES * estimand.n / batch))
    observer = observables.Observer(estimand, metric, arrived.loss_coordinates)

    def observe(before: sgld.State, after: sgld.State) -> dict[str, Tensor]:
        return observer.batches(before, after) | {observables.HEAT: sgld.heat(before, after, settings)}

    state = kernel.init(z, generator)
    return draw.Run(kernel, state, every, observe, observer.known, chosen, noise_bias=bias)


def _minibatch(
    estimand: Estimand, metric: Metric, z: Tensor, size: float, allowed: float, generator: Generator
) -> tuple[int, float]:
    """Return the fewest examples whose noise adds no more to the LLC than *allowed*, and what it adds.

    Both relative to the LLC. A variance s of gradients along a direction of curvature k widens it by
    size s / (4 - size k), relative to its width; half of that over all directions adds to the LLC.
    """
    if not estimand.target.loss.has_data:
        return estimand.n, 0.0
    examples = min(_PROBED, max(1, estimand.n // 2))
    probed = metric.potential(estimand.stochastic_energy(examples))
    noise = float((probed(z, generator)[1] - probed(z, generator)[1]).square().sum(-1).mean()) / 2.0
    typical = float(estimand.excess(metric.position(z)).mean())
    bias_of_one = examples * noise * size / 8.0 / typical if typical > 0 else math.inf
    batch = estimand.n
    if bias_of_one < allowed * estimand.n:
        wanted = 2 ** math.ceil(math.log2(max(bias_of_one / allowed, 1.0)))
        batch = min(batch, max(_FEWEST_EXAMPLES, wanted))
    return batch, bias_of_one / batch if batch < estimand.n else 0.0


# Overdamped chains are the slowest to forget where they started: they get more of the budget to do so.
AUTOMATIC = Automatic(build, warm_up_share=0.6, is_tested=False)
