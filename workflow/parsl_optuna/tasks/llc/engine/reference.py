"""The reference: an exact sampler on chains that `warmup` has equilibrated, drawn until its gate is passed.

Starts, coordinates and control variates are those of `auto`. What is added: a narrower gate, draws anew with
shorter steps where trajectories diverge, and more draws where the gate asks for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain
from parsl_optuna.kernels.diagnostics import drift, ess, mcse, rhat
from parsl_optuna.tasks.base import Metrics
from parsl_optuna.tasks.llc.answer.control_variates import adjusted
from parsl_optuna.tasks.llc.answer.summary import drawn, summarise
from parsl_optuna.tasks.llc.answer.verdict import REFERENCE_GATE, Nature
from parsl_optuna.tasks.llc.engine import sides
from parsl_optuna.tasks.llc.engine.auto import chains_for, refined
from parsl_optuna.tasks.llc.engine.draw import Run
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.warmup import Arrived, warm_up
from parsl_optuna.tasks.llc.problem.estimand import Estimand

_WARM_UP_SHARE = 0.4
"""Of the budget, at most, as of HMC in `auto`; the draws should have more than half of it."""

_ROUND, _GROWTH = 250, 2
"""Draws of the first round: enough to see whether 0.1 % of them diverge. A later one is half as long as what
is drawn.
"""

_MOST_CHAINS = 32
"""Where no number is given. R-hat of 1.01 takes an ESS of 100 per chain: with more chains a budget that ends
early would fail it, though the estimate were precise.
"""

_TRIES = 6
"""How often the step is shortened: to 5 % in all."""

_SHORTER = 0.6
"""Factor on the step size when trajectories diverge; the steps that it takes grow by as much."""


class Length(NamedTuple):
    """How long to draw.

    Attributes:
        draws: Per chain, at most, to reach the wanted error.
        most_draws: Per chain, at most, to pass the gate.
        relative_error: Wanted standard error over LLC.
    """

    draws: int
    most_draws: int
    relative_error: float


def arrive(estimand: Estimand, chains: int | None, stages: Stages, deadline: Deadline) -> Arrived:
    """Return equilibrated chains; of a given number, more warm up where these cost no more time.

    Coordinates are learned from all.
    """
    many = min(chains_for(estimand), _MOST_CHAINS)
    arrived = warm_up(estimand, max(chains or many, many), stages, deadline.part(_WARM_UP_SHARE))
    return arrived._replace(position=arrived.position[: chains or many])


def estimate(
    estimand: Estimand,
    build: Callable[[float], Run],
    warm_up_steps: int,
    length: Length,
    compare: sides.Comparison,
    stages: Stages,
    deadline: Deadline,
) -> Metrics:
    """Draw until the gate of a reference is passed and the error is as wanted, and return the metrics.

    Args:
        estimand: What to estimate.
        build: What draws, with a factor on the step size.
        warm_up_steps: Steps that were taken before.
        length: When to end, besides.
        compare: What moves chains that began elsewhere.
        stages: Source of randomness, and where progress is kept.
        deadline: The budget; the estimate so far is returned when it ends.
    """
    run, factor = build(1.0), 1.0
    state, trace, begun = run.state, chain.nothing(), deadline.used_sec
    until = deadline.part(sides.DRAWING_SHARE)
    for _ in range(_TRIES):
        state, trace = _until_passed(run, state, length, stages, until)
        took = deadline.used_sec - begun
        if trace.truncated or not _diverges(trace) or until.left_sec < took / _SHORTER:
            break
        factor, begun, warm_up_steps = _SHORTER * factor, deadline.used_sec, warm_up_steps + trace.n_steps
        run = build(factor)
    trace, result, gain, elsewhere = refined(estimand, run, trace, compare)
    draws = drawn(trace, warm_up_steps, {**run.settings, "control_gain": gain}, Nature(run.is_exact))
    return summarise(estimand, replace(draws, elsewhere=elsewhere), REFERENCE_GATE, result)


def _until_passed(
    run: Run, state: object, length: Length, stages: Stages, deadline: Deadline
) -> tuple[object, chain.Trace]:
    """Draw in rounds, and look after each; draws that diverge end at once."""
    trace, most = chain.nothing(), max(length.draws, length.most_draws)
    while True:
        limit = length.draws if trace.n_draws < length.draws else most
        more = min(max(_ROUND, trace.n_draws // _GROWTH), limit - trace.n_draws)
        schedule = chain.Schedule(more)
        state, part = stages.chain(run.kernel, state, schedule, run.observe, deadline)
        trace = chain.extend(trace, part)
        if trace.truncated or _diverges(trace) or trace.n_draws >= most:
            return state, trace
        wanted = length.relative_error if trace.n_draws < length.draws else REFERENCE_GATE.relative_error
        if _passes(run, trace, min(wanted, REFERENCE_GATE.relative_error)):
            return state, trace


def _diverges(trace: chain.Trace) -> bool:
    if not trace.n_draws:
        return False
    return float(trace.diverged.double().mean()) > REFERENCE_GATE.divergences


def _passes(run: Run, trace: chain.Trace, relative_error: float) -> bool:
    excess = trace.values["excess"]
    if not ess(excess) >= REFERENCE_GATE.ess or not abs(drift(excess)) <= REFERENCE_GATE.drift:
        return False
    sharp = adjusted(excess, trace.values, run.known)
    is_sharp = mcse(sharp) <= relative_error * abs(float(sharp.mean()))
    return is_sharp and rhat(excess) <= REFERENCE_GATE.rhat  # last: it sorts all draws
