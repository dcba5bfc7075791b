"""The methods: each runs a kernel on the shared estimand under a deadline and returns metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Generator, Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain, hmc, mclmc, sgld, vi
from parsl_optuna.kernels.adapt import DualAveraging, EnergyVariance, Plan, StepRule, WarmedUp
from parsl_optuna.kernels.device import one_core
from parsl_optuna.kernels.diagnostics import drift, ess, rhat
from parsl_optuna.kernels.types import Kernel
from parsl_optuna.tasks.base import Metrics, Work
from parsl_optuna.tasks.llc.answer.evaluation import evaluate
from parsl_optuna.tasks.llc.answer.observables import observed
from parsl_optuna.tasks.llc.answer.summary import REFERENCE_GATE, TRIAL_GATE, Draws, finite_chains, summarise
from parsl_optuna.tasks.llc.engine.auto import run_auto, save_trace
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.start import annealed
from parsl_optuna.tasks.llc.problem.estimand import Estimand
from parsl_optuna.tasks.llc.problem.target import load
from parsl_optuna.tasks.llc.samplers.params import Auto, Hmc, Mclmc, Sgld, Vi, bind

_WARM_UP_SHARE = 0.4
"""At most this share of the budget goes to warm-up."""

_ANNEAL_SHARE = 0.2
"""At most this share goes to starts before: chains from near w* would lack the width of flat directions."""

_ENERGY_SLACK = 10.0
"""Unadjusted energy variance in production may exceed the target by this factor."""

_WHITENING_BATCHES = 200

_INITIAL_WIDTH = 0.3
"""Fits start narrower than a diagonal Laplace approximation: widening is stable, narrowing is not."""

_TOLD_DRAWS = 4
"""Of a fit, for the running estimate."""

_PILOT_DRAWS = 250
_PILOT_TRIES = 6
_RESTARTS = 3
_SHORTER = 0.6
"""Factor on the step size when trajectories diverge."""


def run(work: Work) -> Metrics:
    """Estimate the LLC of ``work.problem`` with ``work.method``."""
    assert work.prepared is not None
    one_core()
    estimand = Estimand(load(work.problem, work.prepared))
    stream = Generator().manual_seed(work.seed)
    stages = Stages(work.checkpoint, stream, estimand, partial(_tell, work))
    if work.method == "auto":
        metrics, trace = run_auto(estimand, bind(Auto, work.params), stages, work.deadline)
        if work.files is not None and trace.n_draws:
            save_trace(trace, estimand.gamma, work.files)
        return metrics
    method: Callable[..., Metrics] = _METHODS[work.method]
    metrics = method(estimand, bind(_PARAMS[work.method], work.params), stages, work.deadline)
    stages.close()
    return metrics


def run_hmc(estimand: Estimand, params: Hmc, stages: Stages, deadline: Deadline) -> Metrics:
    """Anneal, adapt and draw; while the reference gate fails and budget is left, mend.

    Divergences call for a shorter step and new draws, anything else for more draws.
    """
    rule = DualAveraging(params.target_accept)

    def make(step_size: float, variances: Tensor) -> Kernel[hmc.State]:
        return hmc.build(estimand.energy, hmc.Params(step_size, variances, params.leapfrog_steps))

    start = annealed(estimand, params.chains, stages, deadline.part(_ANNEAL_SHARE))
    plan = Plan(params.warmup, 0.5 * estimand.dim**-0.25, estimand.start_variances())
    warm = stages.warm_up(make, rule, plan, start, deadline.part(_WARM_UP_SHARE))
    warm = _without_divergences(estimand, make, warm, stages, deadline.part(_WARM_UP_SHARE))
    observe = partial(_observe, estimand)
    begun = deadline.used_sec
    kernel, schedule = make(warm.step_size, warm.variances), chain.Schedule(params.draws)
    state, trace = stages.chain(kernel, warm.state, schedule, observe, deadline)
    for _ in range(_RESTARTS):
        took = deadline.used_sec - begun
        if trace.truncated or not _diverges(trace) or deadline.left_sec < took / _SHORTER:
            break
        warm = warm._replace(state=state, step_size=_SHORTER * warm.step_size)
        begun, kernel = deadline.used_sec, make(warm.step_size, warm.variances)
        state, trace = stages.chain(kernel, warm.state, schedule, observe, deadline)
    while not trace.truncated and trace.n_draws < params.max_draws and not _passes(trace):
        more = min(max(trace.n_draws // 2, 1), params.max_draws - trace.n_draws)
        state, extra = stages.chain(kernel, state, chain.Schedule(more), observe, deadline)
        trace = chain.extend(trace, extra)
    draws = _draws(trace, warm, {"step_size": warm.step_size, "leapfrog_steps": params.leapfrog_steps})
    return summarise(estimand, draws, REFERENCE_GATE)


def _without_divergences(
    estimand: Estimand,
    make: Callable[[float, Tensor], Kernel[hmc.State]],
    warm: WarmedUp[hmc.State],
    stages: Stages,
    deadline: Deadline,
) -> WarmedUp[hmc.State]:
    """Shorten the step until pilot draws hardly diverge: narrow arms need less than the average.

    A mean acceptance on target can hide trajectories that always fail in some region.
    """
    for _ in range(_PILOT_TRIES):
        kernel = make(warm.step_size, warm.variances)
        observe = partial(_observe, estimand)
        pilot = chain.Schedule(_PILOT_DRAWS)
        state, trace = stages.chain(kernel, warm.state, pilot, observe, deadline)
        warm = warm._replace(state=state, n_steps=warm.n_steps + trace.n_steps)
        if trace.truncated or not _diverges(trace):
            break
        warm = warm._replace(step_size=_SHORTER * warm.step_size)
    return warm


def run_mclmc(estimand: Estimand, params: Mclmc, stages: Stages, deadline: Deadline) -> Metrics:
    """Adapt the step to acceptance (adjusted) or energy error (unadjusted), then draw."""
    unit = math.sqrt(estimand.dim)
    adjusted = params.target_accept is not None
    length = unit * (1.0 if params.L is None else params.L)
    rule: StepRule
    if params.target_accept is not None:
        rule = DualAveraging(params.target_accept)
    else:
        rule = EnergyVariance(params.energy_variance, estimand.dim)

    def make(step_size: float, variances: Tensor) -> Kernel[mclmc.State]:
        settings = mclmc.Params(step_size, length, variances.sqrt(), adjusted)
        return mclmc.build(estimand.energy, settings)

    start = estimand.starts(params.chains, stages.stream)
    # A trajectory has 1 to 64 steps: a step size that has not settled must not stall the warm-up.
    bounds = (length / 64.0, length) if adjusted else (1e-6 * unit, length)
    plan = Plan(params.warmup, params.step_size * unit, estimand.start_variances(), bounds)
    warm = stages.warm_up(make, rule, plan, start, deadline.part(_WARM_UP_SHARE))
    per_draw = max(1, round(length / warm.step_size)) if adjusted else 1
    schedule = chain.Schedule(max(params.steps // per_draw, 1))
    kernel = make(warm.step_size, warm.variances)
    observe = partial(_observe, estimand)
    _, trace = stages.chain(kernel, warm.state, schedule, observe, deadline)
    settings = {"step_size": warm.step_size, "L": length, "steps_per_draw": per_draw}
    draws = _draws(trace, warm, settings)
    if not adjusted:
        error = float(trace.energy_change.square().mean()) / estimand.dim
        limit = _ENERGY_SLACK * params.energy_variance
        draws = replace(draws, energy_variance=error, bias_limit=limit, acceptance=None)
    return summarise(estimand, draws, TRIAL_GATE)


def run_sgld(estimand: Estimand, params: Sgld, stages: Stages, deadline: Deadline) -> Metrics:
    """Burn in, freeze the preconditioner, then average over time, which is steps x step size."""
    burn_in = int(params.burn_in * params.steps)
    settings = sgld.Params(params.eta0, params.gamma, params.t0, params.precond_type, burn_in, params.noise)
    kernel = sgld.build(
        estimand.stochastic_energy(params.batch), estimand.stochastic_loss(params.batch), settings
    )
    state = kernel.init(estimand.starts(params.chains, stages.stream), stages.stream)
    nothing = chain.Schedule(burn_in, every=burn_in + 1)
    state, burnt = stages.chain(kernel, state, nothing, lambda _, __: {}, deadline.part(0.5))

    def observe(before: sgld.State, after: sgld.State) -> dict[str, Tensor]:
        # The gradient of the move belongs to the position before it, on a minibatch that is
        # independent of that position: an unbiased virial.
        w = before.position
        return {
            "excess": estimand.excess(w),
            "radius": estimand.radius(w),
            "virial": ((w - estimand.centre) * after.gradient).sum(-1),
        }

    schedule = chain.Schedule(params.steps - burn_in, params.eval_every)
    _, trace = stages.chain(kernel, state, schedule, observe, deadline)
    first = burnt.n_steps + params.eval_every - 1
    times = [first + params.eval_every * i for i in range(trace.n_draws)]
    weights = torch.tensor([sgld.step_size(settings, time) for time in times], dtype=torch.float64)
    traces, lost = finite_chains(trace.values)
    draws = Draws(
        traces,
        weights=weights,
        lost_chains=lost,
        n_steps=burnt.n_steps + trace.n_steps,
        truncated=burnt.truncated or trace.truncated,
        settings={"last_step_size": sgld.step_size(settings, burnt.n_steps + trace.n_steps)},
    )
    return summarise(estimand, draws, TRIAL_GATE)


def run_vi(estimand: Estimand, params: Vi, stages: Stages, deadline: Deadline) -> Metrics:
    """Fit the mixtures, then evaluate the loss under each with a quadratic control variate."""
    potential = estimand.stochastic_energy(params.batch_size)
    settings = vi.Params(
        params.lr,
        params.steps,
        params.M,
        params.r,
        params.own_diagonal,
        estimand.centre,
        _whitening(estimand, params, stages.stream),
        _INITIAL_WIDTH * estimand.start_variances().sqrt(),
    )
    fit = vi.build(potential, settings)
    state = fit.init(estimand.centre.expand(params.chains, -1), stages.stream)
    training = deadline.part(0.9)  # the rest is for the evaluation

    def draws_of(state: vi.State, stream: Generator) -> Tensor:
        w = vi.sample(state, stream, _TOLD_DRAWS, params=settings)
        return estimand.excess(w.reshape(-1, estimand.dim)).reshape(w.shape[:2]).T

    state, done = stages.loop(
        lambda state: fit.step(state, stages.stream)[0], state, params.steps, training, draws_of
    )
    evaluation = evaluate(estimand, settings, state, params.eval_samples, stages.stream, deadline)
    weight = state.mixture.logits.softmax(-1)
    draws = Draws(
        evaluation.traces,
        lost_chains=evaluation.lost,
        n_steps=done,
        truncated=done < params.steps or evaluation.truncated,
        settings={
            "elbo": float(state.elbo.mean()),
            "component_entropy": float(-(weight * weight.log()).sum(-1).mean()),
            "control_variate": evaluation.control,
            "llc_corrected": evaluation.corrected.value,
            "se_corrected": evaluation.corrected.se,
            "khat": evaluation.corrected.khat,
        },
    )
    return summarise(estimand, draws, TRIAL_GATE, evaluation.estimate)


def _whitening(estimand: Estimand, params: Vi, stream: Generator) -> Tensor:
    """Return the first guess S ``(dim,)`` of the posterior standard deviations.

    ``none`` takes one scale for all; ``rmsprop`` and ``adam`` give each coordinate a scale
    v^(-1/4), v the second moment of minibatch gradients (decay 0.99, 0.999), of the same
    geometric mean.
    """
    scale = estimand.start_variances().mean().sqrt()
    flat = scale.expand(estimand.dim)
    if params.whitening_mode == "none":
        return flat
    decay = 0.99 if params.whitening_mode == "rmsprop" else 0.999
    gradient_of = estimand.stochastic_loss(params.batch_size)
    starts = estimand.starts(params.chains, stream)
    second, total = torch.zeros_like(flat), 0.0
    for _ in range(_WHITENING_BATCHES):
        square = gradient_of(starts, stream)[1].square().mean(0)
        second, total = decay * second + (1 - decay) * square, decay * total + (1 - decay)
    second = second / total
    shape = (second + 1e-3 * second.mean() + torch.finfo(second.dtype).tiny) ** -0.25
    return scale * shape / shape.log().mean().exp()


def _tell(work: Work, steps: int, excess: Tensor) -> None:
    """Report the running estimate, for pruners and curves."""
    work.report(steps, {"llc_hat": float(excess.mean()), "draws": len(excess)})


def _observe(estimand: Estimand, before: object, after: hmc.State | mclmc.State) -> dict[str, Tensor]:
    del before
    virial = ((after.position - estimand.centre) * after.gradient).sum(-1)
    return observed(estimand, after.position, after.potential, virial)


def _draws(trace: chain.Trace, warm: WarmedUp, settings: dict[str, float]) -> Draws:
    traces, lost = finite_chains(trace.values)
    return Draws(
        traces,
        acceptance=float(trace.acceptance.mean()) if trace.n_draws else None,
        divergences=float(trace.diverged.double().mean()) if trace.n_draws else 0.0,
        lost_chains=lost,
        n_steps=warm.n_steps + trace.n_steps,
        truncated=trace.truncated,
        settings=dict(settings),
    )


def _diverges(trace: chain.Trace) -> bool:
    return float(trace.diverged.double().mean()) > REFERENCE_GATE.divergences


def _passes(trace: chain.Trace) -> bool:
    excess = trace.values["excess"]
    return (
        rhat(excess) <= REFERENCE_GATE.rhat
        and ess(excess) >= REFERENCE_GATE.ess
        and abs(drift(excess)) <= REFERENCE_GATE.drift
    )


_PARAMS = {"hmc": Hmc, "mclmc": Mclmc, "sgld": Sgld, "vi": Vi}
_METHODS = {"hmc": run_hmc, "mclmc": run_mclmc, "sgld": run_sgld, "vi": run_vi}
