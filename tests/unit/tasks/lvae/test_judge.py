import pytest
import torch
from parsl_optuna.tasks.lvae.judge import Curve, claim, effective_dims, lipschitz, outcome, pca_nmse
from parsl_optuna.tasks.lvae.pruning import Pruner, Safeguards
from parsl_optuna.tasks.lvae.strategies import Rule
from torch import Generator


def test_pca_of_a_plane_needs_two_dimensions():
    stream = Generator().manual_seed(0)
    designs = torch.randn(100, 2, generator=stream) @ torch.randn(2, 9, generator=stream)

    assert pca_nmse(designs[:80], designs[80:], 2) < 1e-10
    assert pca_nmse(designs[:80], designs[80:], 1) > 0.05


def test_dimensions_that_explain_nothing_do_not_count():
    stream = Generator().manual_seed(0)
    designs = torch.randn(100, 3, generator=stream) * torch.tensor([3.0, 2.0, 0.001])
    pruner = Pruner(3, "plummet", Rule(0.02, 0.99, 0.05, 0.2, 1.0), Safeguards(), 0, 0.9, Generator())

    assert effective_dims(lambda x: x, lambda z: z, pruner, designs) == 2


def test_the_lipschitz_constant_is_that_of_a_linear_map():
    matrix = torch.diag(torch.tensor([1.0, 5.0, 2.0]))

    assert lipschitz(lambda z: z @ matrix, torch.randn(4, 3)) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("errors", "nmse", "active", "expected"),
    [
        ([0.1, 0.05, 0.04], 0.04, 3, "good"),
        ([0.1, 0.05, 0.04], 0.04, 8, "no_pruning"),
        ([0.1, 0.05, 0.04], 0.04, 0, "complete_pruning"),
        ([0.1, 0.05, 0.5], 0.5, 3, "instability"),
        ([0.001, 0.0001, 0.0005], 0.0005, 3, "good"),
        ([0.99, 0.98, 0.97], 0.97, 3, "divergence"),
    ],
)
def test_outcomes(errors, nmse, active, expected):
    assert outcome(Curve([[e, 5.0] for e in errors], 0), nmse, active, 8)[0] == expected


@pytest.mark.parametrize(
    ("intrinsic", "nmse", "pca", "expected"),
    [
        (3, 0.02, 0.3, "good"),
        (3, 0.005, 1e-6, "good"),
        (3, 0.02, 0.0005, "worse_than_pca"),
        (None, 0.02, 0.3, "unknown_dimension"),
    ],
)
def test_a_dimension_is_claimed_only_where_it_was_read_and_learnt(intrinsic, nmse, pca, expected):
    assert claim(intrinsic, intrinsic or 2, nmse, pca)[0] == expected


def test_a_good_run_that_kept_more_dimensions_than_were_read_says_so():
    assert claim(2, 2, 0.02, 0.3) == ("good", None)
    assert claim(2, 3, 0.02, 0.3) == ("good", "3 dimensions are left, and neighbours read 2 of the designs")
