"""The LLC under a fitted approximation: independent draws, a quadratic control variate, a deadline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import vi
from parsl_optuna.kernels.importance import Corrected, expectation
from parsl_optuna.tasks.llc.answer.summary import Traces, finite_chains
from parsl_optuna.tasks.llc.problem.estimand import Estimand

_FIRST_SAMPLES = 4
"""Draws of the first batch: their time shows how many fit into what is left of the budget; each batch
doubles.
"""

_MOST_ROWS = 256
"""Positions evaluated at once; more save no time and take memory."""

_COEFFICIENTS = (0.0, 2.0)
"""Bounds of the control's coefficient, which is 1 for a quadratic loss. Rounding of a vanishing Hessian
gives more.
"""


class Evaluation(NamedTuple):
    """What draws from the fits gave.

    Attributes:
        traces: ``(samples, fits)``, of the fits that stayed finite.
        lost: Fits that did not.
        estimate: LLC and its standard error.
        control: Mean coefficient of the control variate.
        corrected: The LLC by importance sampling, averaged over the fits.
        free_energy: E_q[t (L - L0)] + KL(q || localization prior), over the dimension, mean of the fits: the
            negative ELBO, on a scale that begins at 0.
        truncated: Whether the deadline left some draws out.
    """

    traces: Traces
    lost: int
    estimate: tuple[float, float]
    control: float
    corrected: Corrected
    free_energy: float
    truncated: bool


def evaluate(
    estimand: Estimand,
    settings: vi.Params,
    state: vi.State,
    samples: int,
    stream: Generator,
    deadline: Deadline,
) -> Evaluation:
    """Evaluate the loss at *samples* draws from each fit, or as many as the deadline allows.

    The control is t/2 (w - w*)' H (w - w*), whose mean under the fits is known where the diagonal of
    H is; elsewhere the plain mean is used.
    """
    known = None
    if estimand.target.summary.has_exact_diagonal:
        diagonal = estimand.target.diagonal
        known = 0.5 * estimand.t * vi.quadratic_mean(state, settings, estimand.loss_hvp, diagonal)
    parts: list[dict[str, Tensor]] = []
    done, size = 0, _FIRST_SAMPLES
    while done < samples:
        begun, size = deadline.used_sec, min(size, samples - done)
        w = vi.sample(state, stream, size, params=settings)
        part = _observe(estimand, w, stream, with_control=known is not None)
        part["log_q"] = vi.log_density(state.mixture, w, settings)
        parts.append(part)
        done += size
        rate = (deadline.used_sec - begun) / size
        size = max(1, min(2 * size, _MOST_ROWS // len(w)))
        if deadline.left_sec < rate * size:
            break
    seen = {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}
    control, log_q = seen.pop("control", None), seen.pop("log_q")
    corrected, free_energy = _corrected(seen, log_q), _free_energy(estimand, seen, log_q)
    estimate, coefficient = _controlled(seen["excess"], control, known)
    traces, lost = finite_chains({name: value.T for name, value in seen.items()})
    return Evaluation(traces, lost, estimate, coefficient, corrected, free_energy, done < samples)


def _observe(estimand: Estimand, w: Tensor, stream: Generator, *, with_control: bool) -> dict[str, Tensor]:
    """Return the observables ``(fits, samples)`` at *w* ``(fits, samples, dim)``."""
    flat = w.reshape(-1, estimand.dim)
    energy, gradient = estimand.energy(flat, stream)
    radius, shift = estimand.radius(flat), flat - estimand.centre
    seen = {
        "excess": estimand.excess_from(energy, radius),
        "radius": radius,
        "virial": (shift * gradient).sum(-1),
    }
    if with_control:
        seen["control"] = 0.5 * estimand.t * (shift * estimand.loss_hvp(shift)).sum(-1)
    return {name: value.reshape(w.shape[:2]) for name, value in seen.items()}


def _free_energy(estimand: Estimand, seen: Mapping[str, Tensor], log_q: Tensor) -> float:
    """Return (E_q[t (L - L0)] + KL(q || prior)) / dim; at least 0, as no loss is below that of a minimum."""
    normaliser = 0.5 * estimand.dim * math.log(2.0 * math.pi / estimand.gamma)
    return (float((seen["excess"] + seen["radius"] + log_q).mean()) + normaliser) / estimand.dim


def _corrected(seen: Mapping[str, Tensor], log_q: Tensor) -> Corrected:
    """Weigh the draws ``(fits, samples)`` by target over fit; k-hat is the largest of the fits'."""
    log_ratios = -(seen["excess"] + seen["radius"]) - log_q
    pairs = zip(seen["excess"], log_ratios, strict=True)
    each = [expectation(excess, ratios) for excess, ratios in pairs]
    finite = [one for one in each if math.isfinite(one.value)]
    if not finite:
        return Corrected(math.nan, math.nan, math.nan)
    values = torch.tensor([one.value for one in finite], device="cpu")
    within = math.sqrt(sum(one.se**2 for one in finite)) / len(finite)
    between = float(values.std()) / math.sqrt(len(finite)) if len(finite) > 1 else 0.0
    return Corrected(float(values.mean()), max(within, between), max(one.khat for one in finite))


def _controlled(
    excess: Tensor, control: Tensor | None, known: Tensor | None
) -> tuple[tuple[float, float], float]:
    """Return (LLC, standard error) over the fits, and the control variate's mean coefficient."""
    samples = excess.shape[1]
    coefficient = excess.new_zeros(len(excess))
    controlled = excess
    if control is not None and known is not None:
        centred = control - control.mean(1, keepdim=True)
        spread = centred.square().sum(1)
        covariance = (centred * excess).sum(1)
        coefficient = (covariance / spread.clamp(min=1e-300)).clamp(*_COEFFICIENTS)
        controlled = excess - coefficient.unsqueeze(1) * (control - known.unsqueeze(1))
    means = controlled.mean(1)
    finite = torch.isfinite(means)
    means, controlled = means[finite], controlled[finite]
    if not len(means):
        return (math.nan, math.nan), math.nan
    within = float((controlled.var(1) / samples).mean() / len(means))
    between = float(means.var() / len(means)) if len(means) > 1 else 0.0
    return (float(means.mean()), math.sqrt(max(within, between))), float(coefficient.mean())
