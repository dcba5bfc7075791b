import pytest
import torch
from parsl_optuna.tasks.lvae.strategies import Rule, Seen, candidates
from torch import Generator

RULE = Rule(0.02, 0.99, 0.05, 0.2, 1.0)
STREAM = Generator().manual_seed(0)
FOUR_OF_TEN = torch.tensor([5.0, 4.0, 3.0, 2.0, *[1e-3] * 6])


def seen(std, active=None, reference=None):
    std = torch.as_tensor(std)
    active = torch.ones(len(std), dtype=torch.bool) if active is None else torch.tensor(active)
    return Seen(std, active, std if reference is None else torch.as_tensor(reference))


def repeated(name, std, rounds, rule=RULE):
    """Prune a static set of stds again and again; return what is left after each round."""
    active, left = torch.ones(len(std), dtype=torch.bool), []
    for _ in range(rounds):
        now = torch.where(active, std, torch.zeros_like(std))
        active &= ~candidates(name, Seen(now, active, std), rule, STREAM)
        left.append(int(active.sum()))
    return left


@pytest.mark.parametrize("name", ["plummet", "pca_cdf", "probabilistic"])
def test_flat_dimensions_go_at_once_and_the_others_stay_for_good(name):
    assert repeated(name, FOUR_OF_TEN, 40) == [4] * 40


def test_neighbours_takes_the_smallest_one_at_a_time_down_to_the_dimension_of_the_designs():
    std = torch.tensor([0.9, 0.7, 0.8, 0.6, 0.5])

    def left(active, intrinsic):
        found = Seen(std, torch.tensor(active), std, intrinsic)
        return candidates("neighbours", found, RULE, STREAM).tolist()

    assert left([True] * 5, 3) == [False, False, False, False, True]
    assert left([True, True, True, True, False], 3) == [False, False, False, True, False]
    assert left([True, True, True, False, False], 3) == [False] * 5
    assert left([True] * 5, None) == [False] * 5


def test_neighbours_keeps_flat_dimensions_that_the_designs_need():
    found = Seen(FOUR_OF_TEN, torch.ones(10, dtype=torch.bool), FOUR_OF_TEN, 6)

    assert int(candidates("neighbours", found, RULE, STREAM).sum()) == 4
    assert int(candidates("plummet", found, RULE, STREAM).sum()) == 6


def test_lognorm_prunes_a_percentile_and_then_stops():
    std = torch.randn(250, generator=Generator().manual_seed(1)).sub(2).exp()

    left = repeated("lognorm", std, 40, Rule(0.02, 0.99, 0.05, 0.0, 1.0))

    assert 230 <= left[0] <= 245
    assert left[-1] == left[0]


def test_plummet_looks_before_the_drop_and_the_original_after_it():
    assert candidates("plummet", seen([1.0, 1.0, 0.01]), RULE, STREAM).tolist() == [False, False, True]
    assert candidates("plummet_original", seen([1.0, 1.0, 0.01]), RULE, STREAM).tolist() == [False] * 3


def test_dead_dimensions_make_the_original_plummet_stall():
    std, active = [1.0, 1.0, 0.015, 0.0], [True, True, True, False]

    assert candidates("plummet", seen(std, active), RULE, STREAM).tolist() == [False, False, True, False]
    original = candidates("plummet_original", seen(std, active), RULE, STREAM)
    assert not bool((original & torch.tensor(active)).any())


def test_the_original_pca_cdf_goes_down_to_one_and_probabilistic_to_none():
    std = torch.randn(100, generator=Generator().manual_seed(1)).sub(2).exp()

    assert repeated("pca_cdf_original", std, 60)[-1] <= 2
    assert repeated("probabilistic_original", std, 20)[-1] == 0
    assert repeated("probabilistic", std, 20)[-1] > 50


def test_pca_cdf_keeps_the_share_that_it_is_told():
    std = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.3, 0.1])
    left = torch.ones(6, dtype=torch.bool)
    for _ in range(5):
        left &= ~candidates("pca_cdf", Seen(std, left, std), Rule(0.02, 0.95, 0.05, 0.2, 1.0), STREAM)

    kept = std[left].square().sum() / std.square().sum()
    assert kept >= 0.95
    assert left.tolist() == [True, True, True, False, False, False]


@pytest.mark.parametrize("name", ["plummet", "pca_cdf", "lognorm", "probabilistic"])
def test_nothing_is_left_to_do_where_no_dimension_is_active(name):
    assert not bool(candidates(name, seen([1.0, 2.0], [False, False]), RULE, STREAM).any())
    assert candidates(name, seen([1.0]), RULE, STREAM).shape == (1,)
