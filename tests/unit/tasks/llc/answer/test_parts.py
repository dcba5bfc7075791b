"""Populations as one expectation: plain where all see the same, by evidence where there are parts."""

import math

import pytest
import torch
from parsl_optuna.tasks.llc.answer.parts import Populations, weighed, worth

FLOAT = torch.float64
DRAWS, SIZE = 32, 16
NEAR, FAR = 0.0, 50.0
"""Means of what is seen in both parts."""


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def group(share, seed, moving=True):
    """Return what a group sees ``(draws, particles)``: a *share* of its particles is near w*."""
    noise = torch.randn(DRAWS if moving else 1, SIZE, generator=stream(seed), dtype=FLOAT)
    is_near = torch.arange(SIZE) < round(share * SIZE)
    return (torch.where(is_near, NEAR, FAR) + noise).expand(DRAWS, -1), is_near.expand(DRAWS, -1)


def populations(prior, near=(), moving=True):
    """Make populations: pairs of evidence and share of particles near w*, on both sides."""
    sides = [*((*one, False) for one in prior), *((*one, True) for one in near)]
    seen, places = zip(*(group(share, seed, moving) for seed, (_, share, _) in enumerate(sides)), strict=True)
    seen, inside = torch.stack(seen, dim=1), torch.stack(places, dim=1)
    local = torch.where(inside, 1.0, 100.0).to(FLOAT)
    evidence = torch.tensor([math.log(one) if one else -math.inf for one, _, _ in sides], dtype=FLOAT)
    return Populations(evidence, torch.tensor([side for _, _, side in sides]), seen, local, seen)


def mean(found):
    weights = weighed(found)
    return weights, *weights.mean(found.seen)


def test_what_all_see_alike_is_averaged_with_the_error_of_the_groups():
    found = populations([(1.0, 0.0)] * 12, moving=True)

    weights, value, error = mean(found)

    of_groups = found.seen.mean((0, 2))
    assert weights.is_mixed
    assert not weights.faults
    assert value == pytest.approx(float(of_groups.mean()))
    student = 2.201 / 1.96  # of 11 degrees of freedom, over that of a normal law
    assert error == pytest.approx(1.15 * student * float(of_groups.std()) / math.sqrt(12), rel=1e-3)


def test_evidence_does_not_matter_where_all_see_the_same():
    even = populations([(1.0, 0.0)] * 12)
    uneven = populations([(10.0**power, 0.0) for power in range(12)])

    assert mean(uneven)[1] == mean(even)[1]


def test_two_parts_count_by_the_evidence_of_the_side_that_is_there():
    weights, value, error = mean(populations([(1.0, 0.0)] * 12, near=[(3.0, 1.0)] * 12))

    assert not weights.is_mixed
    assert not weights.faults
    assert value == pytest.approx(0.75 * NEAR + 0.25 * FAR, abs=0.1)
    assert 0.0 < error < 0.1  # nothing but noise of 1: their evidence is known exactly


def test_the_error_has_that_of_the_evidence():
    """Evidence that varies by a tenth from group to group is known to 0.1/sqrt(12) on both sides."""
    varied = [1.0 + 0.1 * math.sin(2.3 * k) for k in range(12)]

    _, _, error = mean(populations([(one, 0.0) for one in varied], near=[(one, 1.0) for one in varied]))

    spread = torch.tensor(varied).std().item() / math.sqrt(12)
    expected = 1.15 * 0.25 * (FAR - NEAR) * math.sqrt(2.0) * spread
    assert error == pytest.approx(expected, rel=0.2)


def test_populations_of_the_prior_that_are_in_both_parts_count_alone():
    """Those near w* see one part only; with them it would count twice."""
    weights, value, _ = mean(populations([(1.0, 0.25)] * 12, near=[(0.25, 1.0)] * 12))

    assert not weights.faults
    assert value == pytest.approx(0.25 * NEAR + 0.75 * FAR, abs=0.1)
    assert weights.used.tolist() == [True] * 12 + [False] * 12


def test_one_population_that_fell_into_the_narrow_part_does_not_make_its_share():
    prior = [(1.0, 1.0 if one == 0 else 0.0) for one in range(12)]

    weights, value, _ = mean(populations(prior, near=[(3.0, 1.0)] * 12))

    outside = 11 / 12  # of the evidence of the prior's side, 3 of the other
    assert not weights.faults
    assert value == pytest.approx((3.0 * NEAR + outside * FAR) / (3.0 + outside), abs=0.1)


def test_more_evidence_near_the_centre_than_populations_from_there_have_is_a_fault():
    prior = [(1.0, 1.0 if one < 7 else 0.0) for one in range(12)]

    weights, *_ = mean(populations(prior, near=[(0.1, 1.0)] * 12))

    assert weights.faults
    assert {status for status, _, _ in weights.faults} == {"not_converged"}


def test_evidence_that_differs_widely_is_not_weighed_by():
    wide = [(math.exp(3.0 * math.sin(2.3 * k)), 0.0) for k in range(12)]

    weights, *_ = mean(populations(wide, near=[(3.0, 1.0)] * 12))

    assert any("evidence of 12 populations is worth that of" in told for _, told, _ in weights.faults)


def test_particles_that_do_not_move_are_a_fault():
    weights, *_ = mean(populations([(1.0, 0.0)] * 12, moving=False))

    assert any("R-hat of particles" in told for _, told, _ in weights.faults)


def test_populations_without_evidence_do_not_count():
    found = populations([(1.0, 0.0)] * 12 + [(0.0, 1.0)] * 4)

    weights, value, _ = mean(found)

    assert value == pytest.approx(FAR, abs=0.2)
    assert int(weights.used.sum()) == 12


def test_worth_is_the_number_of_equal_shares():
    assert worth(torch.tensor([2.0, 2.0, 2.0])) == pytest.approx(3.0)
    assert worth(torch.tensor([1.0, 0.0])) == pytest.approx(1.0)
    assert worth(torch.zeros(3)) == 0.0
