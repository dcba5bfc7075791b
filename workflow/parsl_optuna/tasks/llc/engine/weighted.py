"""An LLC from weighted draws of the normal approximation at w*: no chains, no warm-up, no burn-in.

Pareto-smoothed importance sampling (`kernels.importance`) makes the draws those of the posterior where k-hat
shows that the approximation is near it. Elsewhere the answer is that of the approximation, and not `ok`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.kernels import chain, laplace
from parsl_optuna.kernels.importance import TRUSTED, Corrected, expectation
from parsl_optuna.tasks.llc.answer.observables import observed
from parsl_optuna.tasks.llc.answer.summary import Draws, Traces, summarise
from parsl_optuna.tasks.llc.answer.verdict import TRIAL_GATE, Nature
from parsl_optuna.tasks.llc.engine import sides
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.problem.curvature import EXACT_LIMIT
from parsl_optuna.tasks.llc.problem.estimand import Estimand

_FEWEST, _MOST = 256, 2**16
"""Draws: the first show whether k-hat allows an answer at all, and more than the second no answer needs."""

_ROWS, _ELEMENTS = 256, 2**19
"""Draws of a batch, and numbers in one vector of all of them: more save no time, and 256 vectors are kept."""

_HESSIAN_SHARE, _LANCZOS_SHARE = 0.5, 0.8
"""Of what is left of the budget, at most, for the whole Hessian, and for the steps of a batch of draws: then
there is time to look at these.
"""

_FITTING = 0.8
"""Of what is left of the budget, what the next draws may take at the pace of the last ones."""


_FEWEST_OF_PRIOR = 5.0
"""Draws of the posterior that those of the prior must be worth to show what is elsewhere."""


class _Seen(NamedTuple):
    """What draws showed, each ``(n,)``: `Traces`, logarithms of weights, and what the approximation gives.

    Which draws are its own *is_local* tells. Weights mean something where all of it *is_settled*.
    """

    excess: Tensor
    radius: Tensor
    virial: Tensor
    log_ratio: Tensor
    llc: Tensor
    log_volume: Tensor
    is_local: Tensor
    is_settled: bool
    ended: bool


def estimate(
    estimand: Estimand, relative_error: float, stages: Stages, deadline: Deadline
) -> tuple[dict[str, Any], chain.Trace]:
    """Return the metrics of `summarise`, and the draws they come from.

    Args:
        estimand: What to estimate.
        relative_error: Wanted standard error over LLC.
        stages: Source of randomness, where progress is kept, and to whom it is reported.
        deadline: The budget; the estimate so far is returned when it ends.
    """
    begun = deadline.used_sec
    draw, fewest = _approximation(estimand, stages.stream, deadline)
    ready, pace = deadline.used_sec, 0.0

    def more(seen: _Seen) -> _Seen:
        nonlocal pace
        before, done = deadline.used_sec, len(seen.excess)
        rows = _batch(estimand.dim, done, fewest)
        if pace:
            rows = min(rows, int(_FITTING * deadline.left_sec / pace) // fewest * fewest)
        now = _with_more(estimand, draw, rows, seen, stages.stream) if rows > 0 else None
        if now is None:
            return seen._replace(ended=True)
        pace, done = (deadline.used_sec - before) / rows, len(now.excess)
        is_look = done >= _FEWEST and not done & (done - 1)  # it costs more than draws: at powers of 2
        return now._replace(ended=is_look and _is_enough(now, relative_error))

    nothing = estimand.centre.new_zeros(0)
    seen = stages.run(
        more,
        _Seen(*[nothing] * 6, is_local=nothing > 0, is_settled=True, ended=False),
        lambda at: at.ended,
        lambda at: (0, at.excess.unsqueeze(1)),
    )
    times = {"warmup_sec": ready - begun, "drawing_sec": deadline.used_sec - ready}
    is_cut = not _is_enough(seen, relative_error)
    compare = sides.from_prior(estimand, stages, deadline)
    return _summarised(estimand, seen, times, stages.stream, compare, is_cut=is_cut)


def _approximation(
    estimand: Estimand, generator: Generator, deadline: Deadline
) -> tuple[Callable[[int], laplace.Drawn | None], int]:
    """Return what draws so many: from the whole Hessian, where that is small and quickly formed.

    Also return the least number to draw at once, of which others are multiples.
    """
    posterior = laplace.Posterior(estimand.loss_hvp, estimand.t, estimand.gamma)
    if is_quick(estimand, generator, deadline, _HESSIAN_SHARE):
        whole = laplace.whole(posterior, estimand.centre)
        return partial(whole.draw, generator=generator), laplace.PER_PRIOR

    def krylov(n: int) -> laplace.Drawn | None:
        part = deadline.part(_LANCZOS_SHARE)
        return laplace.krylov(posterior, n, estimand.centre, generator, part)

    return krylov, 1


def is_quick(estimand: Estimand, generator: Generator, deadline: Deadline, share: float) -> bool:
    """Whether a whole Hessian, two gradients per parameter, fits into that *share* of what is left."""
    if estimand.dim > EXACT_LIMIT:
        return False
    before = deadline.used_sec
    float(estimand.energy(estimand.centre.unsqueeze(0), generator)[0])  # a GPU does not wait for itself
    return 2 * estimand.dim * (deadline.used_sec - before) < share * deadline.left_sec


def kept_values(estimand: Estimand) -> int:
    """Return how many numbers are kept at most: the Hessian and its eigenvectors, or Lanczos vectors."""
    dim = estimand.dim
    if dim <= EXACT_LIMIT:
        return 4 * dim**2 + 4 * _ROWS * dim
    return laplace.MOST_STEPS * max(min(_ROWS * dim, _ELEMENTS), dim)


def fewest_gradients(estimand: Estimand) -> tuple[int, int]:
    """Return 1, and how many: a Hessian, or a few draws without it, and draws to look at."""
    return 1, 2 * min(estimand.dim, EXACT_LIMIT) + _FEWEST


def _batch(dim: int, done: int, fewest: int) -> int:
    """Return how many to draw next: few at first, which show how long they take."""
    return max(fewest, min(_ROWS, _ELEMENTS // dim // fewest * fewest, done))


def _with_more(
    estimand: Estimand,
    draw: Callable[[int], laplace.Drawn | None],
    rows: int,
    seen: _Seen,
    generator: Generator,
) -> _Seen | None:
    """Add draws; None where there was no time for them.

    Those that were cut off count only where there are no others: weights of the others would be lost.
    """
    try:
        drawn = draw(rows)
        if drawn is None or (drawn.is_cut and len(seen.excess)):
            return None
        return _joined(seen, _looked_at(estimand, drawn, generator))
    except Expired:
        if not len(seen.excess):
            raise
        return None


def _looked_at(estimand: Estimand, drawn: laplace.Drawn, generator: Generator) -> _Seen:
    """Evaluate draws of the approximation; the logarithm of a weight is up to a constant of all."""
    w = estimand.centre + drawn.shift
    energy, gradient = estimand.energy(w, generator)
    seen = Traces(**observed(estimand, w, energy, (drawn.shift * gradient).sum(1)))
    ratio = drawn.energy - seen.excess - seen.radius
    ratio = torch.where(torch.isfinite(ratio), ratio, -torch.inf)  # where the loss is infinite, or no number
    of_normal = (drawn.llc, drawn.log_volume, drawn.is_local, drawn.is_settled)
    return _Seen(*seen, ratio, *of_normal, ended=False)


def _joined(first: _Seen, second: _Seen) -> _Seen:
    pairs = zip(first[:7], second[:7], strict=True)
    is_settled = first.is_settled and second.is_settled
    excess, radius, virial, ratio, llc, volume, is_local = (torch.cat(pair) for pair in pairs)
    return _Seen(excess, radius, virial, ratio, llc, volume, is_local, is_settled, ended=False)


def _is_enough(seen: _Seen, relative_error: float) -> bool:
    """Whether more draws would not change the answer: it is as precise as wanted, or never to be trusted."""
    if len(seen.excess) < _FEWEST:
        return False
    found = expectation(seen.excess, seen.log_ratio)
    if len(seen.excess) >= _MOST or not found.khat <= TRUSTED:
        return True
    return found.se <= relative_error * abs(found.value) and _worth(seen.log_ratio) >= 2 * TRIAL_GATE.ess


def _worth(log_ratio: Tensor) -> float:
    """Return how many draws of the posterior those with such weights are worth (Kish 1965)."""
    usable = log_ratio[torch.isfinite(log_ratio)].double()
    if not len(usable):
        return 0.0
    weights = (usable - usable.max()).exp()
    return float(weights.sum().square() / weights.square().sum())


def _summarised(
    estimand: Estimand,
    seen: _Seen,
    times: dict[str, float],
    generator: Generator,
    compare: sides.Comparison,
    *,
    is_cut: bool,
) -> tuple[dict[str, Any], chain.Trace]:
    found = expectation(seen.excess, seen.log_ratio)
    if not seen.is_settled:  # then weights are not those of the draws
        found = Corrected(math.nan, math.nan, math.nan)
    is_near = found.khat <= TRUSTED
    own = Traces(*(value[seen.is_local] for value in seen[:3]))
    settings = {
        **times,
        "llc_corrected": found.value,
        "se_corrected": found.se,
        "khat": found.khat,
        "free_energy": _free_energy(estimand, own, seen.log_volume),
        "normal_llc": float(seen.llc.mean()) if len(seen.llc) else math.nan,
        "prior_draws_worth": _worth(-seen.excess[~seen.is_local]),
    }
    shown = _resampled(seen, generator) if is_near else own
    traces = Traces(*(value.unsqueeze(1).cpu() for value in shown))  # independent draws: one chain of them
    draws = Draws(
        traces,
        n_steps=len(seen.excess),
        truncated=is_cut,
        settings=settings,
        nature=Nature(is_exact=True) if is_near else Nature(is_fit=True, is_given=True),
    )
    value = (found.value, found.se) if is_near else _of_approximation(seen)
    trace = _trace(traces, len(seen.excess), is_cut=is_cut)
    if settings["prior_draws_worth"] >= _FEWEST_OF_PRIOR:  # they have shown what is elsewhere
        return summarise(estimand, draws, TRIAL_GATE, value), trace
    return sides.tried(estimand, draws, TRIAL_GATE, value, compare), trace


def _of_approximation(seen: _Seen) -> tuple[float, float]:
    """Return the LLC of the approximation, and its standard error over random vectors."""
    if not len(seen.llc):
        return math.nan, math.nan
    if len(seen.llc) > 1 and bool((seen.llc == seen.llc[0]).all()):
        return float(seen.llc[0]), 0.0  # of the whole Hessian
    spread = float(seen.llc.std()) if len(seen.llc) > 1 else math.nan
    return float(seen.llc.mean()), spread / math.sqrt(len(seen.llc))


def _free_energy(estimand: Estimand, own: Traces, log_volume: Tensor) -> float:
    """Return (E_q[t (L - L0)] + KL(q || prior)) / dim of the approximation q."""
    if not len(own.excess):
        return math.nan
    entropy = log_volume.mean() - 0.5 * estimand.dim
    return float((own.excess + own.radius).mean() + entropy) / estimand.dim


def _resampled(seen: _Seen, generator: Generator) -> Traces:
    """Draw as many by weight as all of them are worth, so that they count as independent."""
    weights = (seen.log_ratio - seen.log_ratio.max()).exp()
    chosen = torch.multinomial(
        weights, max(1, int(_worth(seen.log_ratio))), replacement=True, generator=generator
    )
    return Traces(*(value[chosen] for value in seen[:3]))


def _trace(traces: Traces, n_steps: int, *, is_cut: bool) -> chain.Trace:
    """Return the draws as those of chains whose steps are all accepted."""
    values = traces._asdict() | {"adjusted": traces.excess}
    ones = torch.ones_like(traces.excess)
    return chain.Trace(values, ones, 0.0 * ones, ones < 0, n_steps, n_steps, is_cut)
