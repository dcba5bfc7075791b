"""Drawing until a standard error is reached: what is burn-in, when there is enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import chain
from parsl_optuna.kernels.diagnostics import drift, ess, mcse, rhat
from parsl_optuna.tasks.llc.answer.control_variates import controlled
from parsl_optuna.tasks.llc.answer.summary import TRIAL_GATE
from parsl_optuna.tasks.llc.engine.runs import Run
from parsl_optuna.tasks.llc.engine.stages import Stages

_BURN_IN_SHARE = 0.2
_FIRST_DRAWS = 64
_FEWEST_DRAWS = 128
_MOST_DRAWS = 4096
_DRIFT = 2.5
"""Standard errors between the halves of a run from which on its first half counts as burn-in."""

_BETTER = 0.7
"""Factor on the standard error by which the later half of a run must beat all of it, where 1.4 is chance."""


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
        return _judged(_Drawing(chains, trace, at.every, at.steps, done, ended=False), run.known, wanted)

    nothing = chain.Schedule(run.burn_in, every=run.burn_in + 1)
    part = deadline.part(_BURN_IN_SHARE)
    state, burnt = stages.chain(run.kernel, run.state, nothing, lambda _, __: {}, part)
    begin = _Drawing(state, chain.nothing(), run.every, _FIRST_DRAWS * run.every, 0, ended=False)
    trace = stages.through(advance, begin, lambda at: at.ended, _drawn).trace
    return trace._replace(n_steps=burnt.n_steps + trace.n_steps)


def _judged(at: _Drawing, known: Mapping[str, float], wanted: float) -> _Drawing:
    """Look at the draws after a round: end, drop a burn-in, thin, or plan the next round."""
    trace, every = at.trace, at.every
    excess = trace.values.get("excess")
    if excess is None or not bool(torch.isfinite(excess).all()):
        return at._replace(ended=True)
    if trace.truncated:
        return at._replace(trace=_arrived(trace), ended=True)
    if abs(drift(excess)) > _DRIFT:
        trace = chain.later_half(trace)
    elif _is_enough(excess, wanted, trace.values, known):
        return at._replace(ended=True)
    if trace.n_draws >= _MOST_DRAWS:
        trace, every = chain.thinned(trace), 2 * every
    return _Drawing(at.chains, trace, every, every * max(_FIRST_DRAWS, trace.n_draws // 4), 0, ended=False)


def _arrived(trace: chain.Trace) -> chain.Trace:
    """Drop first halves that make the error larger, of draws that there is no time to add to."""
    while trace.n_draws >= 2 * _FIRST_DRAWS:
        later = chain.later_half(trace)
        if not mcse(later.values["excess"]) < _BETTER * mcse(trace.values["excess"]):
            break
        trace = later
    return trace


def _drawn(at: _Drawing) -> tuple[int, Tensor]:
    return at.trace.n_steps, at.trace.values.get("excess", torch.empty(0, 0))


def _is_enough(
    excess: Tensor, wanted: float, values: Mapping[str, Tensor], known: Mapping[str, float]
) -> bool:
    if len(excess) < _FEWEST_DRAWS or not ess(excess) >= 2 * TRIAL_GATE.ess:
        return False
    sharpened = controlled(excess, values, known)
    is_sharp = mcse(sharpened) <= wanted * abs(float(sharpened.mean()))
    return is_sharp and rhat(excess) <= TRIAL_GATE.rhat  # last: it sorts all draws
