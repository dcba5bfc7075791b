"""From draws to an LLC with its error, its checks and a status that says whether to trust it.

The checks: virial identity E[(w - w*) . grad U] = dim (integration by parts, exact for any target);
variance over mean of t K, at most 1 for exact draws near a minimum; the reweighting derivative
d log LLC / d log gamma, large when the localiser rather than the loss sets the answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from parsl_optuna.kernels.diagnostics import drift, equal_time, ess, mcse, rhat
from parsl_optuna.kernels.importance import TRUSTED
from parsl_optuna.tasks.llc.problem.estimand import Estimand


@dataclass(frozen=True)
class Gate:
    """What draws must satisfy to be called converged."""

    rhat: float
    ess: float
    drift: float = 4.0
    divergences: float = 0.01


TRIAL_GATE = Gate(rhat=1.05, ess=100.0)
REFERENCE_GATE = Gate(rhat=1.01, ess=400.0, drift=4.0, divergences=1e-3)

_VIRIAL_TOLERANCE = 0.05
_VARIANCE_OVER_MEAN = 1.2
_SENSITIVITY = 0.5
_SHORTFALL = 0.05
_SIGMAS = 3.0
_CORRECTION = 0.03


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


@dataclass(frozen=True)
class Draws:
    """What a method saw.

    Attributes:
        traces: Of the chains that stayed finite.
        weights: ``(draws,)`` time per draw; None when all count alike.
        acceptance: Mean acceptance probability; None where there is no correction.
        energy_variance: Mean squared energy error per dimension and step; None where undefined.
        divergences: Fraction of diverged draws.
        lost_chains: Chains that left the finite numbers and are not in the traces.
        n_steps: Steps per chain, warm-up included.
        truncated: Whether the budget ended the run.
        settings: What adaptation chose, for the record.
        bias_limit: Largest tolerated *energy_variance*; None without one.
    """

    traces: Traces
    weights: Tensor | None = None
    acceptance: float | None = None
    energy_variance: float | None = None
    divergences: float = 0.0
    lost_chains: int = 0
    n_steps: int = 0
    truncated: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    bias_limit: float | None = None


def finite_chains(values: Mapping[str, Tensor]) -> tuple[Traces, int]:
    """Keep the chains whose observables are all finite; also return how many were dropped.

    No observables at all, as a run without a draw leaves, give empty traces.
    """
    if not values:
        return Traces(*(torch.empty(0, 0) for _ in Traces._fields)), 0
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
    excess, radius, virial = (
        trace if draws.weights is None else equal_time(trace, draws.weights) for trace in draws.traces
    )
    empty = excess.numel() == 0
    mean = math.nan if empty else float(excess.mean())
    value, error = estimate or (mean, math.nan if empty else mcse(excess))
    diagnostics = {
        "ess": ess(excess),
        "rhat": rhat(excess),
        "drift": drift(excess),
        "virial_ratio": math.nan if empty else float(virial.mean()) / estimand.dim,
        "virial_se": math.nan if empty else mcse(virial) / estimand.dim,
        "variance_over_mean": _ratio(draws.traces.excess),
        "variance_over_mean_se": _ratio_error(draws.traces.excess, ess(excess)),
        "localiser_sensitivity": _sensitivity(excess, radius),
        "below_L0": math.nan if empty else float((draws.traces.excess < 0).double().mean()),
        "lowest_excess": math.nan if empty else float(draws.traces.excess.min()),
        "acceptance": draws.acceptance,
        "energy_variance": draws.energy_variance,
        "divergences": draws.divergences,
        "lost_chains": draws.lost_chains,
        "n_draws": draws.traces.excess.shape[0],
        "n_chains": draws.traces.excess.shape[1] if draws.traces.excess.ndim > 1 else 0,
        "n_steps": draws.n_steps,
        "gradient_norm": estimand.target.summary.gradient_norm,
        "centre_bias": estimand.target.summary.centre_bias,
        **draws.settings,
    }
    status, reason = judge(value, error, diagnostics, gate, draws.bias_limit)
    return {
        "llc_hat": value,
        "se_hat": error,
        "status": status,
        "status_reason": reason,
        "truncated": draws.truncated,
        "work": estimand.work,
        "L0": estimand.L0,
        "beta": estimand.beta,
        "gamma": estimand.gamma,
        "n": estimand.n,
        "dim": estimand.dim,
        "diagnostics": diagnostics,
    }


def judge(
    value: float, error: float, seen: dict[str, Any], gate: Gate, bias_limit: float | None
) -> tuple[str, str | None]:
    """Return the status and the number that shows it; the first that applies, worst first."""
    scale = max(abs(value), 1e-12)
    shortfall = -seen["lowest_excess"]
    ratio = seen["variance_over_mean"]
    wide = _SIGMAS * seen["variance_over_mean_se"]
    off = abs(seen["virial_ratio"] - 1.0)
    if not seen["n_draws"] and not seen["lost_chains"]:
        return "not_converged", "the budget ended before the first draw"
    if not math.isfinite(value) or seen["lost_chains"]:
        return "diverged", f"{seen['lost_chains']} chains left the finite numbers; lower the step size"
    if seen["divergences"] > gate.divergences:
        return "diverged", f"{seen['divergences']:.2%} of draws diverged (limit {gate.divergences:.2%})"
    if shortfall > max(_SHORTFALL * scale, 2 * error, 1e-6):
        return "not_minimum", f"a draw lies {shortfall:.3g} (in units of the LLC) below the centre"
    drop = seen["centre_bias"] or 0.0
    if drop > max(_SHORTFALL * scale, 2 * error, 1e-6):
        norm = seen["gradient_norm"]
        return (
            "not_minimum",
            f"gradient {norm:.2g} at the centre: a minimum {drop:.3g} (in units of the LLC) below it",
        )
    if bias_limit is not None and not seen["energy_variance"] <= bias_limit:
        return (
            "diverged",
            f"energy variance {seen['energy_variance']:.2g} above {bias_limit:.2g} per dimension",
        )
    if value > 0 and (ratio - wide > _VARIANCE_OVER_MEAN or ratio > 2 * _VARIANCE_OVER_MEAN):
        return "not_converged", f"variance/mean {ratio:.2f} above {_VARIANCE_OVER_MEAN}: draws too wide"
    if not seen["rhat"] <= gate.rhat:
        return "not_converged", f"R-hat {seen['rhat']:.3f} above {gate.rhat}"
    if not seen["ess"] >= gate.ess:
        return "not_converged", f"ESS {seen['ess']:.0f} below {gate.ess:.0f}"
    if not abs(seen["drift"]) <= gate.drift:
        return "not_converged", f"halves differ by {seen['drift']:.1f} standard errors"
    if off > _VIRIAL_TOLERANCE + _SIGMAS * seen["virial_se"]:
        return "not_converged", f"virial/dim {seen['virial_ratio']:.3f}, should be 1"
    corrected = seen.get("llc_corrected", math.nan)
    if math.isfinite(corrected) and seen["khat"] <= TRUSTED:
        allowed = _SIGMAS * math.hypot(error, seen["se_corrected"]) + _CORRECTION * scale
        if abs(corrected - value) > allowed:
            return "not_converged", f"importance sampling gives {corrected:.4g} (k-hat {seen['khat']:.2f})"
    if seen["localiser_sensitivity"] > _SENSITIVITY:
        slope = seen["localiser_sensitivity"]
        return "localiser_dominated", f"-d log LLC / d log gamma = {slope:.2f} above {_SENSITIVITY}"
    return "ok", None


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
