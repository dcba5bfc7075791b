"""From draws to an LLC with its standard error, its diagnostics, and a status that says whether to trust it.

Diagnostics beside R-hat, ESS and drift: the virial identity E[(w - w*) . grad U] = dim (integration by
parts, exact for any target); the variance of t K over its mean, which is 1 - d ln LLC / d ln t for exact
draws, so about 1 where the LLC has settled, below 1 while it grows with t, above 1 for a loss that
saturates; and -d log LLC / d log gamma, from covariances, which is large where the localization prior sets
the answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from parsl_optuna.kernels import chain
from parsl_optuna.kernels.diagnostics import drift, equal_time, ess, mcse, rhat
from parsl_optuna.tasks.llc.answer.verdict import Gate, Nature, is_corrected, verdict, violation
from parsl_optuna.tasks.llc.problem.estimand import Estimand

_CHANCE = 2.0
"""Standard errors off the exact mean that are no sign of a bias: else chance would widen a third of all
intervals."""


class Traces(NamedTuple):
    """Observables, each ``(draws, chains)``.

    Attributes:
        excess: t (L_n(w) - L0).
        radius: gamma/2 |w - w*|^2.
        virial: (w - w*) . grad U.
    """

    excess: Tensor
    radius: Tensor
    virial: Tensor


class Elsewhere(NamedTuple):
    """Mean of t (L - L0) and its standard error of chains that began in another place; nan without time."""

    start: str
    llc: float
    se: float


@dataclass(frozen=True)
class Draws:
    """What a method saw.

    Attributes:
        traces: Of the chains that stayed finite.
        lost_chains: Chains that left the finite numbers and are not in the traces.
        weights: ``(draws,)`` time per draw; None when all count alike.
        acceptance: Mean acceptance probability; None where there is no correction.
        energy_variance: Mean squared energy error per dimension and step; None where undefined.
        divergences: Fraction of diverged draws.
        n_steps: Steps per chain, warm-up included.
        truncated: Whether the budget ended the run.
        settings: What adaptation chose, for the record.
        nature: What kind of sampler they are from.
        step_bias: What steps of their length, and gradient noise, add to the LLC.
        heat: What they add to the virial, where that is known.
        elsewhere: What chains that began in another place have; None where nothing was to be compared.
        measured: Diagnostics that the method knows better than its traces show.
    """

    traces: Traces
    lost_chains: int = 0
    weights: Tensor | None = None
    acceptance: float | None = None
    energy_variance: float | None = None
    divergences: float = 0.0
    n_steps: int = 0
    truncated: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    nature: Nature = field(default_factory=Nature)
    step_bias: float = 0.0
    heat: float = 0.0
    elsewhere: Elsewhere | None = None
    measured: dict[str, float] = field(default_factory=dict)


def drawn(
    trace: chain.Trace,
    warm_up_steps: int,
    settings: dict[str, Any],
    nature: Nature,
    *,
    is_tested: bool = True,
) -> Draws:
    """Return what a Markov chain saw; *is_tested* says whether a Metropolis test gives acceptances."""
    has_draws = trace.n_draws > 0
    return Draws(
        *finite_chains(trace.values),
        acceptance=float(trace.acceptance.mean()) if has_draws and is_tested else None,
        divergences=float(trace.diverged.double().mean()) if has_draws else 0.0,
        n_steps=warm_up_steps + trace.n_steps,
        truncated=trace.truncated,
        settings=settings,
        nature=nature,
    )


def finite_chains(values: Mapping[str, Tensor]) -> tuple[Traces, int]:
    """Keep the chains whose observables are all finite; also return how many were dropped.

    No observables at all, as a run without a draw leaves, give empty traces.
    """
    if not values:
        return Traces(*(torch.empty(0, 0, device="cpu") for _ in Traces._fields)), 0
    traces = Traces(*(values[name] for name in Traces._fields))
    kept = torch.isfinite(torch.stack(traces)).all(0).all(0)
    return Traces(*(trace[:, kept] for trace in traces)), int((~kept).sum())


def summarise(
    estimand: Estimand, draws: Draws, gate: Gate, estimate: tuple[float, float] | None = None
) -> dict[str, Any]:
    """Return the metrics of a run.

    Args:
        estimand: What was estimated.
        draws: The traces.
        gate: Convergence limits.
        estimate: LLC and standard error, where the method knows better than the plain mean.
    """
    seen = Traces(
        *(trace if draws.weights is None else equal_time(trace, draws.weights) for trace in draws.traces)
    )
    is_empty = seen.excess.numel() == 0
    mean = math.nan if is_empty else float(seen.excess.mean())
    value, error = estimate or (mean, math.nan if is_empty else mcse(seen.excess))
    diagnostics = _diagnostics(estimand, draws, seen)
    bias = known_bias(value, diagnostics, draws, estimand.dim)
    diagnostics["bias"] = bias
    status, reason = verdict(value, error, diagnostics, gate, draws.nature)
    return {
        "llc_hat": value,
        "se_hat": error,
        "bias": bias,
        "status": status,
        "status_reason": reason,
        "violation": violation(value, error, diagnostics, gate, draws.nature),
        "truncated": draws.truncated,
        "work": estimand.work,
        "L0": estimand.L0,
        "beta": estimand.beta,
        "gamma": estimand.gamma,
        "n": estimand.n,
        "dim": estimand.dim,
        "diagnostics": diagnostics,
    }


def _diagnostics(estimand: Estimand, draws: Draws, seen: Traces) -> dict[str, Any]:
    """Return what shows whether to trust an estimate; *seen* are the traces, each draw as long as others."""
    excess, radius, virial = seen
    is_empty = excess.numel() == 0
    found = {
        "ess": ess(excess),
        "rhat": rhat(excess),
        "drift": drift(excess),
        "virial_ratio": math.nan if is_empty else float(virial.mean()) / estimand.dim,
        "virial_se": math.nan if is_empty else mcse(virial) / estimand.dim,
        "variance_over_mean": _ratio(draws.traces.excess),
        "variance_over_mean_se": _ratio_error(draws.traces.excess, ess(excess)),
        "prior_sensitivity": _sensitivity(excess, radius),
        "prior_sensitivity_se": _sensitivity_error(excess, radius),
        "prior_width_filled": math.nan if is_empty else math.sqrt(2.0 * float(radius.mean()) / estimand.dim),
        "below_L0": math.nan if is_empty else float((draws.traces.excess < 0).double().mean()),
        "lowest_excess": math.nan if is_empty else float(draws.traces.excess.min()),
        "acceptance": draws.acceptance,
        "energy_variance": draws.energy_variance,
        "divergences": draws.divergences,
        "lost_chains": draws.lost_chains,
        "n_draws": draws.traces.excess.shape[0],
        "n_chains": draws.traces.excess.shape[1] if draws.traces.excess.ndim > 1 else 0,
        "n_steps": draws.n_steps,
        "gradient_norm": estimand.target.summary.gradient_norm,
        "centre_bias": estimand.target.summary.centre_bias,
        **draws.measured,
        **draws.settings,
    }
    if draws.elsewhere is not None:
        found |= {f"other_{name}": value for name, value in draws.elsewhere._asdict().items()}
    return found


def known_bias(value: float, seen: Mapping[str, Any], draws: Draws, dim: int) -> float | None:
    """Return how large the bias of an LLC *value* is, as far as it shows; None of a fit too poor to tell.

    Untested steps have what they add. All have what the virial ratio shows beyond chance, and beyond the heat
    of such steps: where steps are too long, or chains have not been everywhere yet, the LLC is off by about
    as much as the ratio (measured).
    """
    if draws.nature.is_fit:
        return abs(seen["llc_corrected"] - value) if is_corrected(seen) else None
    if not math.isfinite(value):
        return 0.0
    off = beyond_chance(seen["virial_ratio"] - 1.0 - draws.heat / dim, seen["virial_se"])
    return math.hypot(draws.step_bias, abs(value) * off)


def beyond_chance(off: float, error: float) -> float:
    """Return how large a difference *off* is beyond chance, given its standard error."""
    return math.sqrt(max(off**2 - (_CHANCE * error) ** 2, 0.0))


def _ratio(excess: Tensor) -> float:
    return float(excess.var() / excess.mean()) if excess.numel() > 1 else math.nan


def _ratio_error(excess: Tensor, size: float) -> float:
    """Standard error of variance/mean from the fourth moment and the effective sample size."""
    if excess.numel() < 2 or not size > 0:
        return math.nan
    centred = excess - excess.mean()
    variance = centred.square().mean()
    kurtosis = float(centred.pow(4).mean() / variance.square().clamp(min=1e-300))
    return abs(_ratio(excess)) * math.sqrt(max(kurtosis - 1.0, 0.0) / size)


def _sensitivity(excess: Tensor, radius: Tensor) -> float:
    """Return -d log LLC / d log gamma = Cov(t K, gamma/2 |w - w*|^2) / E[t K]."""
    if excess.numel() < 2:
        return math.nan
    covariance = ((excess - excess.mean()) * (radius - radius.mean())).mean()
    return float(covariance / excess.mean())


def _sensitivity_error(excess: Tensor, radius: Tensor) -> float:
    """Return the standard error of `_sensitivity`, from the product of both deviations."""
    if excess.numel() < 2:
        return math.nan
    return mcse((excess - excess.mean()) * (radius - radius.mean())) / abs(float(excess.mean()))
