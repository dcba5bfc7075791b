"""The LLC without settings: starts, coordinates, step size, burn-in and length are chosen, not given."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from parsl_optuna.core.clock import Deadline, named_phase
from parsl_optuna.core.errors import SpecError
from parsl_optuna.kernels import chain
from parsl_optuna.kernels.diagnostics import mcse
from parsl_optuna.store.atomic import write_bytes
from parsl_optuna.tasks.llc.answer import observables
from parsl_optuna.tasks.llc.answer.control_variates import adjusted
from parsl_optuna.tasks.llc.answer.summary import Elsewhere, beyond_chance, drawn, finite_chains, summarise
from parsl_optuna.tasks.llc.answer.verdict import TRIAL_GATE, Nature
from parsl_optuna.tasks.llc.engine import sides
from parsl_optuna.tasks.llc.engine.draw import MOST_DRAWS, Goal, Run, draw
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.warmup import Arrived, is_large, warm_up
from parsl_optuna.tasks.llc.problem.estimand import Estimand

_TUNING_SHARE = 0.2
"""Of what is left of the budget after warm-up, at most."""

_SMALLEST_FACTOR = 0.25
"""Untested steps are halved down to this factor as long as chains leave the finite numbers."""

_CHAIN_ELEMENTS = 2**14
"""Chains times parameters, or times examples, from which on more chains cost proportionally more
(measured).
"""

_CHAIN_BYTES, _BYTES_PER_DIM = 2**30, 128
"""On a GPU more chains cost more from where they write about so much per step, 2 ms of its memory: as long as
a step takes to launch. A step touches a vector of parameters some 32 times.
"""

_FEWEST_CHAINS, _MOST_CHAINS = 8, 256
"""R-hat compares chains and metrics pool them; beyond 256 each chain would be short beside its warm-up."""

_LARGE, _FEWEST_OF_ALL = 20_000, 4
"""Parameters of chains one by one from which on there are four, the fewest that R-hat compares (Vehtari et
al. 2021): each takes twice as many steps towards equilibrium in the same time.
"""

_RECORDED, _FEWEST_RECORDED = 2**26, 256
"""Values of a user's observables that are kept, 512 MiB, and the fewest draws: rather take fewer chains."""

_OBSERVED_ESS = 1000.0
"""Of runs with observables: it gives their covariances to about 5 %, sqrt(2 / ESS)."""

_PICTURE_DRAWS, _PICTURE_CHAINS = 512, 32
"""As many as a picture of 1,000 pixels can show; 200 KB."""


class Sampler(Protocol):
    """What `estimate` needs of a sampler: `samplers.base.Automatic`."""

    @property
    def build(self) -> Callable[[Estimand, Arrived, Stages, Goal], Run]:
        """Choose settings where warm-up ended."""
        ...

    @property
    def warm_up_share(self) -> float:
        """Share of the budget that warm-up may take."""
        ...

    @property
    def is_tested(self) -> bool:
        """Whether energy errors are tested, so that there are acceptances."""
        ...


def estimate(
    estimand: Estimand,
    sampler: Sampler,
    n_chains: int,
    relative_error: float,
    stages: Stages,
    deadline: Deadline,
    *,
    sparing: bool = False,
) -> tuple[dict[str, Any], chain.Trace]:
    """Return the metrics of `summarise` and the draws they come from; the mean of ``adjusted`` is the LLC.

    Args:
        estimand: What to estimate.
        sampler: What draws.
        n_chains: Number of chains.
        relative_error: Wanted standard error over LLC.
        stages: Source of randomness, where progress is kept, and to whom it is reported.
        deadline: The budget; the estimate so far is returned when it ends.
        sparing: Whether warm-up uses minibatches where a gradient on all data takes long.

    Raises:
        Expired: The loss has a deadline of its own, which passed before the first draw; it names the phase.
    """
    begun = deadline.used_sec
    with named_phase("warm-up"):
        arrived = warm_up(estimand, n_chains, stages, deadline.part(sampler.warm_up_share), sparing=sparing)
    goal = Goal(relative_error, deadline.part(_TUNING_SHARE))

    def build(stages: Stages, goal: Goal) -> Run:
        return _recording(sampler.build(estimand, arrived, stages, goal), estimand, n_chains)

    is_one_sided = not (sparing and is_large(estimand))
    with named_phase("tuning"):
        until = deadline.part(sides.DRAWING_SHARE) if is_one_sided else deadline
        run, trace, drawing_sec = _drawn(build, stages, goal, until)
    compare = sides.from_centre(estimand, arrived, stages, deadline) if is_one_sided else None
    trace, result, gain, elsewhere = refined(estimand, run, trace, compare)
    settings = {
        **run.settings,
        "control_gain": gain,
        "low_rank_components": len(arrived.metric.stretch),
        "warmup_sec": deadline.used_sec - begun - drawing_sec,
        "drawing_sec": drawing_sec,
    }
    draws = drawn(trace, arrived.n_steps, settings, Nature(run.is_exact), is_tested=sampler.is_tested)
    draws = replace(draws, elsewhere=elsewhere)
    if result is not None:
        heat, bias = _steps_add(run, trace, result[0])
        draws = replace(draws, heat=heat, step_bias=bias)
    return summarise(estimand, draws, TRIAL_GATE, result), trace


def _recording(run: Run, estimand: Estimand, n_chains: int) -> Run:
    """Draw as much as observables need, and keep no more of them than the memory holds."""
    size = estimand.recording.size
    if not size:
        return run
    most = recorded_values(estimand, n_chains) // (size * n_chains)
    return run._replace(most_draws=most, fewest_ess=_OBSERVED_ESS)


def recorded_values(estimand: Estimand, n_chains: int) -> int:
    """Return how many values of observables are kept at most."""
    return min(_RECORDED, MOST_DRAWS * n_chains * estimand.recording.size)


class Refined(NamedTuple):
    """Draws with ``adjusted`` beside them, LLC and standard error, the gain of that, and a comparison.

    Without draws, or where a chain left the finite numbers, there is no result.
    """

    trace: chain.Trace
    result: tuple[float, float] | None = None
    gain: float = 1.0
    elsewhere: Elsewhere | None = None


def refined(estimand: Estimand, run: Run, trace: chain.Trace, compare: sides.Comparison | None) -> Refined:
    """Add control variates to draws, and *compare* their mean; errors come last, as they take their time."""
    if not trace.n_draws:
        return Refined(trace)
    values = {**trace.values, "adjusted": adjusted(trace.values["excess"], trace.values, run.known)}
    trace = trace._replace(values=values)
    if finite_chains(values)[1]:
        return Refined(trace)
    elsewhere = compare(float(values["adjusted"].mean()), 0.0) if compare is not None else None
    return Refined(trace, *_precise(estimand, trace), elsewhere)


def _precise(estimand: Estimand, trace: chain.Trace) -> tuple[tuple[float, float], float]:
    """Return LLC and standard error, and how many times as many draws it would take without control variates.

    The error is at least that of rounding an energy: the adjusted draws may be exact.
    """
    excess, sharp = trace.values["excess"], trace.values["adjusted"]
    value, rounding = float(sharp.mean()), rounded(estimand)
    error = math.hypot(mcse(sharp), rounding)
    return (value, error), (mcse(excess) / error) ** 2


def _steps_add(run: Run, trace: chain.Trace, value: float) -> tuple[float, float]:
    """Return what steps and minibatches add to the virial, and to the LLC *value*.

    The second is the larger of what is predicted and of half of the first beyond chance, as of a quadratic
    loss. That control variates cancel most of it is not taken off.
    """
    predicted = run.noise_bias * abs(value)
    if observables.HEAT not in trace.values:
        return 0.0, predicted
    heat = trace.values[observables.HEAT]
    mean = float(heat.mean())
    return mean, max(predicted, 0.5 * beyond_chance(mean, mcse(heat)))


def rounded(estimand: Estimand) -> float:
    """Return by how much an energy is rounded: it is about the dimension above t times the loss at w*."""
    return torch.finfo(estimand.centre.dtype).eps * (estimand.dim + abs(estimand.t * estimand.L0))


def _drawn(
    build: Callable[[Stages, Goal], Run], stages: Stages, goal: Goal, deadline: Deadline
) -> tuple[Run, chain.Trace, float]:
    """Return what drew, its draws, and the seconds they took."""
    run, begun = build(stages, goal), deadline.used_sec
    trace = draw(run, stages, math.sqrt(goal.relative_error**2 - run.noise_bias**2), deadline)
    _, lost = finite_chains(trace.values)
    if lost and goal.shortened > _SMALLEST_FACTOR and not deadline.expired:
        return _drawn(build, stages, goal._replace(shortened=0.5 * goal.shortened), deadline)
    return run, trace, deadline.used_sec - begun


def pictured(trace: chain.Trace, gamma: float) -> dict[str, np.ndarray[Any, Any]]:
    """Return what pictures show, each ``(draws, chains)``.

    ``excess`` is t (L - L0), ``controlled`` the same after control variates, ``distance`` is |w - w*|.
    """
    excess, precise, radius = (trace.values[name].cpu().numpy() for name in ("excess", "adjusted", "radius"))
    return {"excess": excess, "controlled": precise, "distance": (2.0 / gamma * radius) ** 0.5}


def save_trace(shown: Mapping[str, np.ndarray[Any, Any]], folder: Path) -> None:
    """Write ``trace.npz`` for pictures: at most 512 draws of at most 32 chains, in single precision."""
    every = max(1, len(shown["excess"]) // _PICTURE_DRAWS)
    stream = io.BytesIO()
    excess, controlled, distance = (
        shown[name][::every, :_PICTURE_CHAINS].astype(np.float32)
        for name in ("excess", "controlled", "distance")
    )
    np.savez(stream, excess=excess, controlled=controlled, distance=distance)
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "trace.npz", stream.getvalue())


def chains_for(estimand: Estimand) -> int:
    """Return the number of chains: many where one gradient costs less than calling it.

    Raises:
        SpecError: Observables of more values than memory holds.
    """
    size = estimand.recording.size
    most = min(_MOST_CHAINS, 2 ** int(math.log2(max(1.0, _RECORDED / (_FEWEST_RECORDED * max(size, 1))))))
    if most < _FEWEST_CHAINS:
        raise SpecError(
            f"observables: {size:,} values per draw; at most "
            f"{_RECORDED // (_FEWEST_RECORDED * _FEWEST_CHAINS):,} can be kept: take fewer examples"
        )
    if not estimand.target.loss.together:
        return _FEWEST_CHAINS if estimand.dim < _LARGE else _FEWEST_OF_ALL
    return min(most, max(_FEWEST_CHAINS, 2 ** int(math.log2(max(1.0, _affordable(estimand))))))


def _affordable(estimand: Estimand) -> float:
    """Return the number of chains up to which one more costs next to nothing."""
    loss = estimand.target.loss
    if estimand.centre.device.type != "cpu":
        return _CHAIN_BYTES / max(loss.pass_bytes, _BYTES_PER_DIM * estimand.dim)
    return _CHAIN_ELEMENTS / max(estimand.dim, estimand.n if loss.has_data else 0)
