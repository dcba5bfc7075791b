"""Populations that began on two sides, as one expectation: where they see the same, and where they do not.

Moves at the last temperature hardly lead from one part of a posterior to another, so what populations weigh
there is their evidence. Near w* those that began there count, elsewhere those that began in the prior.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from parsl_optuna.kernels.diagnostics import rhat
from parsl_optuna.tasks.llc.answer.verdict import TRIAL_GATE, Fault

FEWEST_POPULATIONS = 8
"""That evidence weights must be worth: a standard error from fewer is itself known to a third at best."""

_ALIKE = 0.3
"""Share of populations that their evidence must be worth: with less it has a tail that few of them see, and a
mean of them, with its standard error, is too small. Of normal logarithms it is where these have a variance of
1.2.
"""

_WELL_KNOWN = 0.5
"""The same, from which on populations are weighed where only the distance from w* shows slow particles: that
costs less than half of the populations.
"""

_SHARED = 1.15
"""Populations of a round share temperatures, coordinates and step sizes: means of 300 rounds on four singular
targets varied 1.1 times as much as their populations say (measured; 0.04 is the error of that).
"""

_SIGMAS = 3.0
"""Standard errors by which populations may differ by chance."""

_FEWEST_PARTICLES = 16
"""Of a part, of which R-hat tells something."""

_SHARE = 1e-3
"""Of the evidence, below which a part does not count."""


class Populations(NamedTuple):
    """Groups of particles at the last temperature.

    Attributes:
        log_evidence: Of each, ``(groups,)``.
        is_near: Whether it began near w*, ``(groups,)``.
        seen: What particles saw of the loss, ``(draws, groups, particles)``.
        local: How far they were from w* in units of the curvature there, likewise.
        far: How far in units of the localization prior, likewise.
    """

    log_evidence: Tensor
    is_near: Tensor
    seen: Tensor
    local: Tensor
    far: Tensor


class Weights(NamedTuple):
    """What every draw counts.

    Attributes:
        groups: Evidence of each group over the largest, over the number of groups of its side.
        draws: Factors ``(draws, groups, particles)`` on it.
        is_near: As of `Populations`.
        is_mixed: Whether all see the same, and evidence does not matter.
        faults: Why the result is not to be trusted.
    """

    groups: Tensor
    draws: Tensor
    is_near: Tensor
    is_mixed: bool
    faults: tuple[Fault, ...]

    def mean(self, values: Tensor) -> tuple[float, float]:
        """Return the mean of ``(draws, groups, particles)`` and its standard error, by a jackknife.

        The error is wider than that of a normal law by what the number of populations calls for: 1.96 of
        them are the 95 % interval of Student's law.
        """
        shares = self.groups * self.draws.mean((0, 2))
        sums = self.groups * (self.draws * values).mean((0, 2))
        value = float(sums.sum() / shares.sum())
        variance = sum(_jackknife(sums, shares, self.is_near == side) for side in (False, True))
        return value, _SHARED * _widened(self.worth) * math.sqrt(variance)

    @property
    def used(self) -> Tensor:
        """Which populations count at all, ``(groups,)``."""
        return self.draws.amax((0, 2)) > 0

    @property
    def worth(self) -> float:
        """How many populations of equal evidence these are worth."""
        return worth(self.groups * self.draws.mean((0, 2)))


def worth(shares: Tensor) -> float:
    """Return how many equal shares these are worth (Kish 1965); 0 of none."""
    largest = float(shares.max())
    if not largest > 0.0:
        return 0.0
    shares = shares / largest  # squares of small evidence would be 0
    return float(shares.sum().square() / shares.square().sum())


def weighed(found: Populations) -> Weights:
    """Decide what draws count.

    All, where both sides see the same. Else those from the prior, where these have all the evidence near w*
    that those from there have, which need longer to spread. Else each side counts where it is.
    """
    near = found.is_near
    ones = torch.ones_like(found.seen) * torch.isfinite(found.log_evidence).unsqueeze(1)
    even = Weights(torch.ones_like(found.log_evidence), ones, near, is_mixed=True, faults=())
    if not bool(near.any()):
        return _of_side(found, even, ones)
    is_alike = all(_apart(values, near) <= _SIGMAS for values in (found.seen, found.far))
    if is_alike and rhat(found.seen[:, even.used].flatten(1)) <= TRIAL_GATE.rhat:
        return _of_side(found, even, ones)
    inside = (found.local <= found.local[:, near].max()).to(ones)
    shares = _evidence(found) * inside.mean((0, 2))
    (far_share, far_error), (near_share, near_error) = _sum(shares[~near]), _sum(shares[near])
    ratio, error = (
        far_share / near_share,
        math.hypot(far_error, near_error * far_share / near_share) / near_share,
    )
    if worth(shares[~near]) >= FEWEST_POPULATIONS and ratio + _SIGMAS * error >= 1.0:
        return _of_side(found, even._replace(draws=ones * ~near.unsqueeze(1)), inside)
    return _of_parts(found, even, inside, (ratio, error))


def _of_side(found: Populations, even: Weights, inside: Tensor) -> Weights:
    """Weigh the populations that count at all; *inside* are draws near w*, which may be a part of its own."""
    used = even.used
    mine = Populations(found.log_evidence[used], found.is_near[used], *(one[:, used] for one in found[2:]))
    by_evidence = even._replace(groups=_evidence(found), is_mixed=False)
    if rhat(mine.seen.flatten(1)) <= TRIAL_GATE.rhat:
        is_far = rhat(mine.far.flatten(1)) <= TRIAL_GATE.rhat
        (plain, _), (value, error) = even.mean(found.seen), by_evidence.mean(found.seen)
        is_known = by_evidence.worth >= _WELL_KNOWN * int(used.sum())
        is_even = is_far or (not is_known and abs(value - plain) <= _SIGMAS * error)
        return even if is_even else by_evidence
    parts = (even.draws * inside > 0, even.draws * (1.0 - inside) > 0)
    faults = [fault for part in parts for fault in _unmixed(found, part)]
    return by_evidence._replace(faults=(*faults, *_few(by_evidence, used)))


def _of_parts(found: Populations, even: Weights, inside: Tensor, seen: tuple[float, float]) -> Weights:
    """Weigh two parts: near w*, as far as the populations that began there reach, and the rest.

    *seen* is how much of the evidence near w* those from the prior have, and its standard error.
    """
    own = found.is_near.unsqueeze(1).to(inside)
    draws = own + (1.0 - own) * (1.0 - inside)
    weights = even._replace(groups=_evidence(found), draws=draws, is_mixed=False)
    faults: list[Fault] = []
    ratio, error = seen
    if ratio - _SIGMAS * error > 1.0:
        told = (
            f"near w* populations from the prior have {ratio:.2g} ± {error:.1g} times the evidence of those"
        )
        faults.append(("not_converged", f"{told} that began there, should be 1", ratio))
    total = float((weights.groups * draws.mean((0, 2))).sum())
    for side, part in ((found.is_near, own * inside), (~found.is_near, (1.0 - own) * (1.0 - inside))):
        if float((weights.groups * part.mean((0, 2))).sum()) > _SHARE * total:
            faults += [*_unmixed(found, part > 0), *_few(weights, side)]
    return weights._replace(faults=tuple(faults))


def _few(weights: Weights, side: Tensor) -> tuple[Fault, ...]:
    """Tell where the evidence of the populations of one side is known too badly to weigh by."""
    found = worth((weights.groups * weights.draws.mean((0, 2)))[side])
    wanted = max(FEWEST_POPULATIONS, _ALIKE * int(side.sum()))
    if found >= wanted:
        return ()
    told = f"evidence of {int(side.sum())} populations is worth that of {found:.1f}, fewer than {wanted:.0f}"
    return (("not_converged", told, wanted / max(found, 1e-3) - 1.0),)


def _unmixed(found: Populations, part: Tensor) -> list[Fault]:
    """Tell where particles of one *part* ``(draws, groups, particles)`` do not see the same."""
    belongs = (part.to(found.seen).mean(0) > 0.5).flatten()
    if int(belongs.sum()) < _FEWEST_PARTICLES:
        return []
    mixing = rhat(found.seen.flatten(1)[:, belongs])
    if mixing <= TRIAL_GATE.rhat:
        return []
    told = f"R-hat of particles {mixing:.3f} above {TRIAL_GATE.rhat}"
    cause = "moves are slow, or there are parts between which none leads"
    return [("not_converged", f"{told}: {cause}", mixing / TRIAL_GATE.rhat - 1.0)]


def _evidence(found: Populations) -> Tensor:
    """Return the evidence of groups over the largest, over the number of groups of its side."""
    weights = (found.log_evidence - found.log_evidence.max()).exp()
    weights = torch.where(torch.isfinite(weights), weights, 0.0)
    near = found.is_near
    return torch.where(near, weights / near.sum(), weights / (~near).sum())


def _apart(values: Tensor, near: Tensor) -> float:
    """Return how many standard errors are between the populations of both sides."""
    means = values.mean((0, 2))
    (first, one), (second, other) = (_mean(means[side]) for side in (near, ~near))
    return abs(first - second) / max(math.hypot(one, other), 1e-300)


def _mean(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


def _sum(values: Tensor) -> tuple[float, float]:
    return float(values.sum()), float(values.std()) * math.sqrt(len(values))


def _jackknife(sums: Tensor, shares: Tensor, side: Tensor) -> float:
    """Return the variance of sum(sums)/sum(shares) that the groups of one side cause."""
    count = int(side.sum())
    if count < 2:
        return 0.0

    def without(values: Tensor) -> Tensor:
        rest = values[side].sum() - values[side]
        return values[~side].sum() + rest * count / (count - 1)

    left = without(sums) / without(shares)
    return float((left - left.mean()).square().sum()) * (count - 1) / count


def _widened(worth: float) -> float:
    from scipy.special import stdtrit  # noqa: PLC0415  half a second that no other method should pay

    return float(stdtrit(max(worth - 1.0, 1.0), 0.975)) / 1.96
