"""The status of an estimate: `ok`, or the first thing that is wrong, with the number that shows it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from parsl_optuna.kernels.importance import TRUSTED


@dataclass(frozen=True)
class Gate:
    """What draws must satisfy to be called converged.

    Attributes:
        rhat: Largest rank-normalised split R-hat.
        ess: Smallest effective sample size, over all chains.
        relative_error: Largest standard error over LLC.
        divergences: Largest share of diverged draws.
        drift: Largest difference of the halves of a run, in standard errors.
    """

    rhat: float
    ess: float
    relative_error: float
    divergences: float
    drift: float = 4.0  # by chance once in 16,000 runs


# Vehtari et al. (2021), arXiv:1903.08008, ask for R-hat <= 1.01 and an ESS of 100 per chain, here of 4
# chains.
REFERENCE_GATE = Gate(rhat=1.01, ess=400.0, relative_error=0.05, divergences=1e-3)
# A trial is compared with its reference, and has its own standard error for that: it may be rougher.
TRIAL_GATE = Gate(rhat=1.05, ess=100.0, relative_error=0.1, divergences=0.01)

_SIGMAS = 3.0
"""Standard errors that a check allows: by chance it fails once in 370 runs."""

_VIRIAL_TOLERANCE = 0.05
"""Error of the virial ratio that is tolerated beyond chance; of a Gaussian it is also that of the LLC."""

VIRIAL_KNOWN = 2 * _VIRIAL_TOLERANCE / _SIGMAS
"""Largest standard error of the virial ratio with which the check of it could fail."""

_VARIANCE_OVER_MEAN = 1.2
"""Ratio of a step that is too long for its stiffest directions: 2.2 at an LLC 12 % too large (measured)."""

_SENSITIVITY = 0.5
"""-d log LLC / d log gamma from which on gamma decides more than half of an order of magnitude of the LLC."""

_SHORTFALL = 0.05
"""Depth below the centre, relative to the LLC, that is tolerated: it lowers the LLC by about as much."""

_ELSEWHERE = 0.05
"""Relative difference between chains that began in different places that is tolerated beyond chance."""

_CORRECTION = 0.03
"""Relative difference from importance sampling that is tolerated beyond chance."""

_SMALLEST_SIZE = 1e-3
"""Least distance from `ok` of what is not: an exceeded limit that chance allows for may be met by the number
itself.
"""

_NOTHING = 1e-6
"""Values of t L below this are rounding."""


Fault = tuple[str, str, float]
"""Status, the number that shows it, and by how much a limit is exceeded, relative to it."""


@dataclass(frozen=True)
class Nature:
    """What kind of sampler the draws are from, as far as it decides which checks mean something.

    Attributes:
        is_exact: Whether every step is Metropolis tested on all data: no step size can bias it.
        is_fit: Whether the draws are of an approximation.
        is_given: Whether that was not optimised, and draws are independent: nothing has to converge.
        energy_limit: Largest tolerated energy variance of untested steps; None without one.
        faults: What the sampler itself saw wrong.
    """

    is_exact: bool = False
    is_fit: bool = False
    is_given: bool = False
    energy_limit: float | None = None
    faults: tuple[Fault, ...] = ()


def verdict(
    value: float, error: float, seen: Mapping[str, Any], gate: Gate, nature: Nature
) -> tuple[str, str | None]:
    """Return the status and the number that shows it; the first that applies, worst first.

    ``diverged``: draws are unusable. ``not_minimum``: the centre is no minimum. ``not_converged``: the
    draws, or the fit, are not those of the target yet; more of them help. ``biased``: they will never be.
    ``prior_dominated``: the localization prior rather than the loss decides. ``uncertain``: nothing is known
    to be wrong, but the checks could not see it, or a sign has two causes.
    """
    found = _worst(_Case(value, error, seen, gate, nature))
    return ("ok", None) if found is None else found[1][0][:2]


def violation(value: float, error: float, seen: Mapping[str, Any], gate: Gate, nature: Nature) -> float:
    """Return how far an estimate is from `ok`, for a search that has to get there: 0 where it is.

    The whole part says how bad the status is, 0 for ``uncertain`` to 4 for ``diverged``; the rest grows
    from 0 to 1 with the distance from the limit, the largest where several are exceeded. Of fits that have
    not converged, or whose family may be too poor, it grows with their free energy, which is least where the
    ELBO is largest.
    """
    found = _worst(_Case(value, error, seen, gate, nature))
    if found is None:
        return 0.0
    rank, sizes = found[0], [size for _, _, size in found[1]]
    if not all(map(math.isfinite, sizes)):
        return rank + 1.0
    size = max(*sizes, _SMALLEST_SIZE)
    return rank + size / (1.0 + size)


def _worst(case: _Case) -> tuple[int, list[tuple[str, str, float]]] | None:
    """Return the worst kind of fault, and all that shows it."""
    checks = (_unusable, _no_minimum, _no_equilibrium, _known_bias, _too_little_known)
    for rank, check in zip(reversed(range(len(checks))), checks, strict=True):
        if found := list(check(case)):
            return rank, found
    return None


def _over(value: float, limit: float) -> float:
    """Return by what factor, less 1, a limit is exceeded."""
    return value / limit - 1.0


class _Case(NamedTuple):
    """The arguments of `verdict`."""

    value: float
    error: float
    seen: Mapping[str, Any]
    gate: Gate
    nature: Nature


_Found = Iterator[Fault]


def _unusable(case: _Case) -> _Found:
    value, seen, gate = case.value, case.seen, case.gate
    if not seen["n_draws"] and not seen["lost_chains"]:
        yield "not_converged", "the budget ended before the first draw", math.inf
    elif not math.isfinite(value) or seen["lost_chains"]:
        yield (
            "diverged",
            f"{seen['lost_chains']} chains left the finite numbers; lower the step size",
            math.inf,
        )
    if seen["divergences"] > gate.divergences:
        told = f"{seen['divergences']:.2%} of draws diverged (limit {gate.divergences:.2%})"
        yield "diverged", told, _over(seen["divergences"], gate.divergences)


def _no_minimum(case: _Case) -> _Found:
    value, error, seen = case.value, case.error, case.seen
    allowed = max(_SHORTFALL * abs(value), 2 * error, _NOTHING)
    shortfall, drop, norm = -seen["lowest_excess"], seen["centre_bias"] or 0.0, seen["gradient_norm"]
    if shortfall > allowed:
        yield (
            "not_minimum",
            f"a draw lies {shortfall:.3g} (in units of the LLC) below the centre",
            _over(shortfall, allowed),
        )
    if drop > allowed:
        lower = f"a minimum {drop:.3g} (in units of the LLC) below it"
        yield "not_minimum", f"gradient {norm:.2g} at the centre: {lower}", _over(drop, allowed)


def _no_equilibrium(case: _Case) -> _Found:
    seen, gate = case.seen, case.gate
    yield from case.nature.faults
    if case.nature.is_given:
        return
    if math.isnan(seen["rhat"]):
        yield "not_converged", f"too few draws for R-hat: {seen['n_draws']} per chain", math.inf
    elif seen["rhat"] > gate.rhat:
        yield "not_converged", f"R-hat {seen['rhat']:.3f} above {gate.rhat}", _over(seen["rhat"], gate.rhat)
    if not seen["ess"] >= gate.ess:
        yield (
            "not_converged",
            f"ESS {seen['ess']:.0f} below {gate.ess:.0f}",
            _over(gate.ess, max(seen["ess"], 1.0)),
        )
    if not abs(seen["drift"]) <= gate.drift:
        told = f"halves differ by {seen['drift']:.1f} standard errors"
        yield "not_converged", told, _over(abs(seen["drift"]), gate.drift)
    off = abs(seen["virial_ratio"] - 1.0)
    if off > _VIRIAL_TOLERANCE + _SIGMAS * seen["virial_se"]:
        cause = "it is 1 at an optimum: more steps, or another rate" if case.nature.is_fit else "should be 1"
        size = seen["free_energy"] if case.nature.is_fit else _over(off, _VIRIAL_TOLERANCE)
        yield "not_converged", f"virial/dim {seen['virial_ratio']:.3f}, {cause}", size
    if "other_start" in seen:
        yield from _other_parts(case)
    bias, allowed = seen["bias"] or 0.0, _allowed_bias(case)
    if case.nature.is_exact and bias > allowed:  # tested steps have no other
        told = f"virial/dim {seen['virial_ratio']:.3f} ± {seen['virial_se']:.3f}, should be 1"
        yield "not_converged", f"{told}: chains have not been everywhere", _over(bias, allowed)


def is_elsewhere(value: float, error: float, other: float, other_error: float) -> bool:
    """Whether an LLC differs from that of chains that began in another place; so it does from nan."""
    return not abs(other - value) <= _allowed_apart(value, error, other_error)


def _allowed_apart(value: float, error: float, other_error: float) -> float:
    return max(_SIGMAS * math.hypot(error, other_error), _ELSEWHERE * abs(value), _NOTHING)


def _other_parts(case: _Case) -> _Found:
    value, error, seen = case.value, case.error, case.seen
    start, other, other_error = seen["other_start"], seen["other_llc"], seen["other_se"]
    if not math.isnan(other) and is_elsewhere(value, error, other, other_error):
        told = f"chains that began {start} have {other:.4g} ± {other_error:.2g}, not {value:.4g}"
        cure = "more time, or a larger gamma: the posterior may have parts between which chains hardly move"
        size = abs(other - value) / _allowed_apart(value, error, other_error) - 1.0
        yield "not_converged", f"{told}; {cure}", size


def _known_bias(case: _Case) -> _Found:
    value, error, seen, nature = case.value, case.error, case.seen, case.nature
    limit, energy = nature.energy_limit, seen["energy_variance"]
    if limit is not None and not energy <= limit:
        told = f"energy variance {energy:.2g} above {limit:.2g} per dimension: steps too long"
        yield "biased", told, _over(energy, limit)
    if nature.is_fit and is_corrected(seen):
        corrected, khat = seen["llc_corrected"], seen["khat"]
        allowed = _SIGMAS * math.hypot(error, seen["se_corrected"]) + _CORRECTION * abs(value)
        if abs(corrected - value) > allowed:
            found = f"importance sampling gives {corrected:.4g} (k-hat {khat:.2f})"
            yield "biased", f"{found}: the family is too poor", _over(abs(corrected - value), allowed)
    bias, allowed = seen["bias"] or 0.0, _allowed_bias(case)
    if not (nature.is_fit or nature.is_exact) and bias > allowed:
        told = f"bias of about {bias:.2g}, above {case.gate.relative_error:.0%} of the LLC"
        yield "biased", f"{told}: steps too long, or minibatches too small", _over(bias, allowed)
    slope, chance = seen["prior_sensitivity"], _SIGMAS * (seen["prior_sensitivity_se"] or 0.0)
    # Of many parameters that the loss does not hold it is mostly noise: |w - w*|^2 varies by them all.
    if slope > max(_SENSITIVITY, chance) and (
        not nature.is_fit or is_corrected(seen)
    ):  # of another law it means nothing
        told = f"-d log LLC / d log gamma = {slope:.2f} above {_SENSITIVITY}"
        yield "prior_dominated", told, _over(slope, _SENSITIVITY)


def _allowed_bias(case: _Case) -> float:
    return max(case.gate.relative_error * abs(case.value), _NOTHING)


def _too_little_known(case: _Case) -> _Found:
    value, error, seen, gate, nature = case
    ratio, chance = seen["variance_over_mean"], _SIGMAS * seen["variance_over_mean_se"]
    is_wide = ratio - chance > _VARIANCE_OVER_MEAN or ratio > 2 * _VARIANCE_OVER_MEAN
    if value > 0 and is_wide and not (nature.is_exact or nature.is_fit):
        causes = "steps too long, or a loss that saturates"
        yield (
            "uncertain",
            f"variance/mean {ratio:.2f} above {_VARIANCE_OVER_MEAN}: {causes}",
            _over(ratio, _VARIANCE_OVER_MEAN),
        )
    if math.isnan(seen.get("other_llc", 0.0)):
        told = f"there was no time for chains that begin {seen['other_start']}, for comparison"
        yield "uncertain", told, math.inf
    if math.isnan(error) and not nature.is_given:
        yield "uncertain", "the standard error is not known", math.inf
    if error > max(gate.relative_error * abs(value), _NOTHING):
        told = f"standard error {error:.2g} above {gate.relative_error:.0%} of the LLC"
        yield "uncertain", told, _over(error, max(gate.relative_error * abs(value), _NOTHING))
    if not nature.is_given and seen["virial_se"] > VIRIAL_KNOWN:
        told = f"virial/dim is known to {seen['virial_se']:.2f} only: equilibrium is unchecked"
        yield "uncertain", told, _over(seen["virial_se"], VIRIAL_KNOWN)
    if nature.is_fit and not is_corrected(seen):
        told = f"k-hat {seen['khat']:.2f} above {TRUSTED}: the family may be too poor"
        if math.isnan(seen["khat"]):
            told = "no k-hat: too few draws, or the normal approximation is not known well enough"
        yield "uncertain", told, seen["free_energy"]


def is_corrected(seen: Mapping[str, Any]) -> bool:
    """Whether importance sampling shows what a fit leaves out."""
    return math.isfinite(seen["llc_corrected"]) and seen["khat"] <= TRUSTED
