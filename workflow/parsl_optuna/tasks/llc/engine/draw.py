"""Drawing until a standard error is reached: what counts as burn-in, and when there are enough draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain
from parsl_optuna.kernels.diagnostics import drift, ess, mcse, rhat
from parsl_optuna.kernels.types import Kernel
from parsl_optuna.tasks.llc.answer.control_variates import adjusted
from parsl_optuna.tasks.llc.answer.summary import beyond_chance
from parsl_optuna.tasks.llc.answer.verdict import TRIAL_GATE, VIRIAL_KNOWN
from parsl_optuna.tasks.llc.engine.stages import Stages, excess_of

_BURN_IN_SHARE = 0.2
"""Of the budget, at most, for steps that are dropped without a look at them."""

_ROUND, _FEWEST_DRAWS = 64, 128
"""Draws of the first round, and the fewest of a run: with fewer, ESS and R-hat of halves mean little."""

_GROWTH = 4
"""Each later round is a quarter as long as what is drawn: a run exceeds what it needs by a quarter at
most.
"""

_DRIFT = 2.5
"""Standard errors between the halves of a run from which on its first half is burn-in: by chance in 1.2 %
of looks.
"""

_BEGINNING = 16
"""The beginning of a chain is this part of a run: long enough that its mean is inside the range of later
draws.
"""

MOST_DRAWS = 4096

_ESS_MARGIN = 2
"""Draws end at so many times the ESS of the gate, so that chance does not fail a run that has just ended."""


class Goal(NamedTuple):
    """What is wanted: a relative standard error, until when to tune, and a factor on untested steps."""

    relative_error: float
    deadline: Deadline
    shortened: float = 1.0


class Run(NamedTuple):
    """What draws.

    Attributes:
        kernel: The kernel.
        state: Of its chains.
        every: Steps per record.
        observe: ``(state before, state after) -> observables``, each ``(chains,)``.
        known: Exact means of some observables.
        settings: What was chosen, for the record.
        is_exact: Whether every step is tested on all data, so that no step size can bias it.
        burn_in: Steps to drop first.
        noise_bias: Stochastic-gradient bias that is expected of the LLC, relative to it.
        most_draws: Draws that are kept; then every second one is dropped, so that memory does not grow with
            steps.
        fewest_ess: Effective sample size at which drawing may end.
    """

    kernel: Kernel[Any]
    state: Any
    every: int
    observe: Callable[[Any, Any], dict[str, Tensor]]
    known: Mapping[str, float]
    settings: dict[str, Any]
    is_exact: bool = False
    burn_in: int = 0
    noise_bias: float = 0.0
    most_draws: int = MOST_DRAWS
    fewest_ess: float = _ESS_MARGIN * TRIAL_GATE.ess


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
    """Draw until the relative error is *wanted* or the deadline ends.

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
        return _next_round(_Drawing(chains, trace, at.every, at.steps, done, ended=False), run, wanted)

    nothing = chain.Schedule(run.burn_in, every=run.burn_in + 1)
    part = deadline.part(_BURN_IN_SHARE)
    state, burnt = stages.chain(run.kernel, run.state, nothing, lambda _, __: {}, part)
    begin = _Drawing(state, chain.nothing(), run.every, _ROUND * run.every, 0, ended=False)
    trace = stages.run(advance, begin, lambda at: at.ended, lambda at: excess_of(at.trace)).trace
    return trace._replace(n_steps=burnt.n_steps + trace.n_steps)


def _next_round(at: _Drawing, run: Run, wanted: float) -> _Drawing:
    """Look at the draws after a round: end, drop a burn-in, thin, or plan the next round."""
    trace, every = at.trace, at.every
    excess = trace.values.get("excess")
    if excess is None or not bool(torch.isfinite(excess).all()):
        return at._replace(ended=True)
    if trace.truncated:
        return at._replace(trace=_without_burn_in(trace), ended=True)
    if abs(drift(excess)) > _DRIFT:
        trace = chain.later_half(trace)
    elif _is_enough(excess, wanted, trace.values, run):
        return at._replace(ended=True)
    if trace.n_draws >= run.most_draws:
        trace, every = chain.thinned(trace), 2 * every
    return _Drawing(at.chains, trace, every, every * max(_ROUND, trace.n_draws // _GROWTH), 0, ended=False)


def _without_burn_in(trace: chain.Trace) -> chain.Trace:
    """Drop first halves in which a chain was still on its way, of draws that there is no time to add to."""
    while trace.n_draws >= 2 * _ROUND and _begins_outside(trace.values["excess"]):
        trace = chain.later_half(trace)
    return trace


def _begins_outside(excess: Tensor) -> bool:
    """Whether a chain begins, on average, above or below all draws of all chains in the later half.

    A hot chain makes errors so large that `drift` does not see it. What lowers the standard error is no
    criterion: it would drop the excursions of heavy tails.
    """
    beginning, later = excess[: len(excess) // _BEGINNING].mean(0), excess[len(excess) // 2 :]
    return bool(((beginning > later.max()) | (beginning < later.min())).any())


def _is_enough(excess: Tensor, wanted: float, values: Mapping[str, Tensor], run: Run) -> bool:
    if len(excess) < _FEWEST_DRAWS or not ess(excess) >= run.fewest_ess:
        return False
    precise = adjusted(excess, values, run.known)
    error = mcse(precise) / max(abs(float(precise.mean())), 1e-300)
    is_checked = True
    if "virial" in run.known:
        virial = values["virial"] / run.known["virial"]
        chance = mcse(virial)
        is_checked = chance <= VIRIAL_KNOWN
        if run.is_exact:  # else steps may be to blame, which more of them do not cure
            error = math.hypot(error, beyond_chance(float(virial.mean()) - 1.0, chance))
    is_precise = is_checked and error <= wanted
    return is_precise and rhat(excess) <= TRIAL_GATE.rhat  # last: it sorts all draws
