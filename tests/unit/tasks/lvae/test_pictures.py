import numpy as np
import pytest
import torch
from parsl_optuna.tasks.lvae import pictures
from parsl_optuna.tasks.lvae.pruning import Pruner, Safeguards
from parsl_optuna.tasks.lvae.strategies import Rule
from torch import Generator

WEIGHTS = torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])


def pruner():
    rule = Rule(0.05, 0.99, 0.05, 0.2, 1.0)
    return Pruner(3, "plummet", rule, Safeguards(0, None, 0, 1, None), 0, 0.9, Generator())


def encode(designs):
    return designs.flatten(1)[:, :3] @ WEIGHTS


def made(designs):
    return pictures.arrays(encode, lambda codes: codes @ torch.ones(3, 6), pruner(), designs)


def test_walks_go_along_the_active_codes_the_widest_one_first():
    found = made(torch.randn(40, 6, generator=Generator().manual_seed(0)))

    std = found["standard_deviations_of_codes"]
    assert std[0] > std[1] > std[2] == 0
    walks = found["walks_along_the_widest_codes"]
    assert walks.shape == (2, 7, 6)
    assert walks[0, -1, 0] - walks[0, 0, 0] == pytest.approx(4 * std[0], rel=1e-4)


def test_reconstructions_stand_below_their_designs():
    designs = torch.randn(40, 6, generator=Generator().manual_seed(0))

    rows = made(designs)["reconstructions_(designs_above)"]

    assert np.allclose(rows[0], designs[:8])
    assert np.allclose(rows[1], (designs[:8, :3] @ WEIGHTS @ torch.ones(3, 6)).numpy(), atol=1e-5)


def test_large_designs_are_averaged():
    def decode(codes):
        return codes.sum(1)[:, None, None, None].expand(-1, 1, 64, 64)

    found = pictures.arrays(encode, decode, pruner(), torch.rand(10, 1, 64, 64))

    assert found["designs_of_random_codes"].shape == (1, 8, 32, 32)
