"""The status of an estimate: `ok`, or the first thing that is wrong, with the number that shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parsl_optuna.kernels.importance import TRUSTED


@dataclass(frozen=True)
class Gate:
    """What draws must satisfy to be called converged.

    Attributes:
        rhat: Largest rank-normalised split R-hat.
        ess: Smallest effective sample size, over all chains.
        drift: Largest difference of the halves of a run, in standard errors.
        divergences: Largest share of diverged draws.
    """

    rhat: float
    ess: float
    drift: float = 4.0
    divergences: float = 0.01


# Vehtari et al. (2021), arXiv:1903.08008, ask for R-hat <= 1.01 and an ESS of 100 per chain, here of 4
# chains. A trial is compared with its reference rather than trusted alone: an ESS of 100 has an error of 10
# % of a standard deviation. A drift of 4 standard errors is chance once in 16,000 runs.
REFERENCE_GATE = Gate(rhat=1.01, ess=400.0, divergences=1e-3)
TRIAL_GATE = Gate(rhat=1.05, ess=100.0)

_VIRIAL_TOLERANCE = 0.05
_VARIANCE_OVER_MEAN = 1.2
_SENSITIVITY = 0.5
_SHORTFALL = 0.05
_SIGMAS = 3.0
_CORRECTION = 0.03


def verdict(
    value: float, error: float, seen: Mapping[str, Any], gate: Gate, energy_limit: float | None
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
    if energy_limit is not None and not seen["energy_variance"] <= energy_limit:
        return (
            "diverged",
            f"energy variance {seen['energy_variance']:.2g} above {energy_limit:.2g} per dimension",
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
    if seen["prior_sensitivity"] > _SENSITIVITY:
        slope = seen["prior_sensitivity"]
        return "prior_dominated", f"-d log LLC / d log gamma = {slope:.2f} above {_SENSITIVITY}"
    return "ok", None
