"""Whether chains that begin elsewhere arrive at the same LLC: the last check of an estimate, before `ok`.

Chains from the localization prior agree with each other also where none of them has fallen into the part of
the posterior at w*; draws near w* know nothing of the rest. No diagnostic of either shows that. So the claim
of the one is tried by chains that begin where the other does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.tasks.llc.answer.summary import Draws, Elsewhere, summarise
from parsl_optuna.tasks.llc.answer.verdict import Gate, is_elsewhere
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.warmup import (
    DECORRELATIONS,
    FIRST_WINDOW,
    GROWTH,
    Arrived,
    Window,
    warm_up,
)
from parsl_optuna.tasks.llc.problem.estimand import Estimand

DRAWING_SHARE, _LEAST = 0.85, 0.05
"""Of what is left of the budget when drawing begins, at most: the rest is for the comparison, which gets the
second share of the budget in any case.
"""

_FEWEST_CHAINS, _SHARE = 8, 4
"""Chains that are compared, and one in how many of those that drew: a few windows show their mean as well as
need be, and cost less than drawing did.
"""

_MOST_WINDOWS = 11
"""Windows at most, of 11,000 steps in all: wide flat directions of 400 parameters took 8 (measured)."""

_IN_A_ROW = 2
"""Windows that agree, so that chains which only pass on their way elsewhere do not count as arrived."""

_COLDEST = 1e-3
"""Of t (L - L0), above which chains need not begin: hotter ones than those that drew take longer to cool."""

_WARM_UP_SHARE = 0.7
"""Of what is left of the budget, at most, to bring chains from the prior."""


class _Moving(NamedTuple):
    """Chains on their way; *excess* ``(chains,)`` is the mean of t (L - L0) over the last window."""

    at: Arrived
    excess: Tensor
    windows: int
    in_a_row: int


Comparison = Callable[[float, float], Elsewhere]
"""``(LLC, its standard error) -> what chains that began elsewhere have``."""


def tried(
    estimand: Estimand,
    draws: Draws,
    gate: Gate,
    result: tuple[float, float] | None,
    compare: Comparison,
) -> dict[str, Any]:
    """Return the metrics of `summarise`; where they would be `ok`, with the comparison."""
    metrics = summarise(estimand, draws, gate, result)
    if metrics["status"] != "ok":
        return metrics
    found = compare(metrics["llc_hat"], metrics["se_hat"])
    return summarise(estimand, replace(draws, elsewhere=found), gate, result)


def from_centre(estimand: Estimand, arrived: Arrived, stages: Stages, deadline: Deadline) -> Comparison:
    """Return what moves chains that begin near w*, in the coordinates of those that *arrived*."""

    def begin(value: float) -> tuple[Window, Arrived]:
        until = Deadline(max(deadline.left_sec, _LEAST * deadline.budget_sec), deadline.now)
        chains = min(len(arrived.position), max(_FEWEST_CHAINS, len(arrived.position) // _SHARE))
        near = estimand.starts(chains, stages.stream, max(value, _COLDEST))
        window = Window(estimand, stages.stream, until, DECORRELATIONS, also=arrived.position)
        return window, arrived._replace(position=near, n_steps=0)

    return _comparison("near w*", begin, stages)


def from_prior(estimand: Estimand, stages: Stages, deadline: Deadline) -> Comparison:
    """Return what moves chains that begin in the prior."""

    def begin(value: float) -> tuple[Window, Arrived]:
        del value
        start = warm_up(estimand, _FEWEST_CHAINS, stages, deadline.part(_WARM_UP_SHARE))
        return Window(estimand, stages.stream, deadline, DECORRELATIONS, also=start.position), start

    return _comparison("in the prior", begin, stages)


def _comparison(place: str, begin: Callable[[float], tuple[Window, Arrived]], stages: Stages) -> Comparison:
    """Return what moves chains from where they *begin*, given an LLC; without time there is no number."""

    def compare(value: float, error: float) -> Elsewhere:
        with suppress(Expired):
            return Elsewhere(place, *_moved(*begin(value), (value, error), stages))
        return Elsewhere(place, math.nan, math.nan)

    return compare


def _moved(window: Window, start: Arrived, claim: tuple[float, float], stages: Stages) -> tuple[float, float]:
    """Run windows until chains have the LLC of the claim; return the mean and error of the last one."""

    def advance(state: _Moving) -> _Moving:
        seen = window.run(state.at, round(FIRST_WINDOW * GROWTH**state.windows))
        at = state.at._replace(position=seen.position, n_steps=state.at.n_steps + seen.n_steps)
        agrees = not is_elsewhere(*claim, *_mean(seen.excess))
        return _Moving(at, seen.excess, state.windows + 1, state.in_a_row + 1 if agrees else 0)

    def has_ended(state: _Moving) -> bool:
        out_of_time = state.windows > 0 and window.deadline.expired
        return state.in_a_row == _IN_A_ROW or state.windows == _MOST_WINDOWS or out_of_time

    begin = _Moving(start, start.position.new_full((len(start.position),), math.nan), 0, 0)
    return _mean(stages.run(advance, begin, has_ended).excess)


def _mean(excess: Tensor) -> tuple[float, float]:
    """Return mean and standard error of chains that began independently."""
    return float(excess.mean()), float(excess.std()) / math.sqrt(len(excess))
