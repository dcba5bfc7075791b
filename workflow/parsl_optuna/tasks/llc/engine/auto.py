"""The LLC without settings: starts, coordinates, step size, burn-in and length are found, not given."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain
from parsl_optuna.kernels.diagnostics import mcse
from parsl_optuna.store.atomic import write_bytes
from parsl_optuna.tasks.llc.answer.control_variates import controlled
from parsl_optuna.tasks.llc.answer.summary import TRIAL_GATE, Draws, finite_chains, summarise
from parsl_optuna.tasks.llc.engine import draw as draws
from parsl_optuna.tasks.llc.engine import runs
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.warmup import warm_up
from parsl_optuna.tasks.llc.problem.estimand import Estimand
from parsl_optuna.tasks.llc.samplers.params import Auto

_WARM_UP_SHARE = {"hmc": 0.4, "langevin": 0.4, "sgld": 0.6}
"""Of the budget at most; overdamped chains are the slowest to forget where they started."""

_TUNING_SHARE = 0.2
_SMALLEST_FACTOR = 0.25
"""Of untested steps: they are halved down to this as long as chains leave the finite numbers."""

_CHAIN_ELEMENTS = 2**14
"""Chains times parameters, or times examples, from which on more chains cost proportionally more."""

_PICTURE_DRAWS, _PICTURE_CHAINS = 512, 32
_KERNELS = {"hmc": runs.by_hmc, "langevin": runs.by_langevin, "sgld": runs.by_sgld}


def run_auto(
    estimand: Estimand, params: Auto, stages: Stages, deadline: Deadline
) -> tuple[dict[str, Any], chain.Trace]:
    """Return the metrics of `summarise` and the draws they come from; the mean of ``controlled`` is the LLC.

    Args:
        estimand: What to estimate.
        params: How well, with which kernel.
        stages: Source of randomness, where progress is kept, and who is told of it.
        deadline: The budget; the estimate so far is returned when it ends.
    """
    begun = deadline.used_sec
    chains = chains_for(params, estimand)
    arrived = warm_up(estimand, chains, stages, deadline.part(_WARM_UP_SHARE[params.kernel]))
    goal = runs.Goal(params.relative_error, deadline.part(_TUNING_SHARE))
    build = partial(_KERNELS[params.kernel], estimand, arrived)
    run, trace, drawing_sec = _drawn(build, stages, goal, deadline)
    traces, lost = finite_chains(trace.values)
    estimate, gain = None, 1.0
    if trace.n_draws:
        sharpened = controlled(trace.values["excess"], trace.values, run.known)
        trace = trace._replace(values={**trace.values, "controlled": sharpened})
        if not lost:
            estimate, gain = _estimate(estimand, run, trace)
    corrected = trace.n_draws and params.kernel != "sgld"
    found = Draws(
        traces,
        acceptance=float(trace.acceptance.mean()) if corrected else None,
        divergences=float(trace.diverged.double().mean()) if trace.n_draws else 0.0,
        lost_chains=lost,
        n_steps=arrived.n_steps + trace.n_steps,
        truncated=trace.truncated,
        settings={
            **run.settings,
            "control_gain": gain,
            "directions": len(arrived.metric.stretch),
            "warmup_sec": deadline.used_sec - begun - drawing_sec,
            "drawing_sec": drawing_sec,
        },
    )
    return summarise(estimand, found, TRIAL_GATE, estimate), trace


def _estimate(estimand: Estimand, run: runs.Run, trace: chain.Trace) -> tuple[tuple[float, float], float]:
    """Return LLC and standard error, and how many times as many draws it would take without control variates.

    The error is at least that of rounding an energy, which is about the dimension: controls may be exact.
    """
    excess, sharpened = trace.values["excess"], trace.values["controlled"]
    value, rounding = float(sharpened.mean()), torch.finfo(excess.dtype).eps * estimand.dim
    error = math.hypot(mcse(sharpened), rounding)
    return (value, math.hypot(error, run.heat * value)), (mcse(excess) / error) ** 2


def _drawn(
    build: Callable[[Stages, runs.Goal], runs.Run], stages: Stages, goal: runs.Goal, deadline: Deadline
) -> tuple[runs.Run, chain.Trace, float]:
    """Return what drew, its draws, and the seconds they took."""
    run, begun = build(stages, goal), deadline.used_sec
    trace = draws.draw(run, stages, math.sqrt(goal.relative_error**2 - run.heat**2), deadline)
    _, lost = finite_chains(trace.values)
    if lost and goal.shortened > _SMALLEST_FACTOR and not deadline.expired:
        return _drawn(build, stages, goal._replace(shortened=0.5 * goal.shortened), deadline)
    return run, trace, deadline.used_sec - begun


def save_trace(trace: chain.Trace, gamma: float, folder: Path) -> None:
    """Write ``trace.npz`` for pictures: at most 512 draws of at most 32 chains.

    ``excess`` is t (L - L0), ``controlled`` the same with control variates, and ``distance`` is |w - w*|,
    each ``(draws, chains)`` in single precision.
    """
    every = max(1, trace.n_draws // _PICTURE_DRAWS)
    excess, sharpened, radius = (
        trace.values[name][::every, :_PICTURE_CHAINS].float() for name in ("excess", "controlled", "radius")
    )
    distance = (2.0 / gamma * radius).sqrt()
    stream = io.BytesIO()
    np.savez(stream, excess=excess.numpy(), controlled=sharpened.numpy(), distance=distance.numpy())
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "trace.npz", stream.getvalue())


def chains_for(params: Auto, estimand: Estimand) -> int:
    """Return the number of chains: many where one gradient costs less than calling it."""
    size = max(estimand.dim, estimand.n if estimand.target.loss.has_data else 0)
    return params.chains or min(256, max(8, 2 ** int(math.log2(max(1, _CHAIN_ELEMENTS / size)))))
