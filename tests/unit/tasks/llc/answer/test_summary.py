import math

import torch
from parsl_optuna.tasks.llc.answer.summary import finite_chains


def test_chains_that_left_the_finite_numbers_are_dropped_and_counted():
    excess = torch.ones(5, 3)
    excess[2, 1] = math.inf

    traces, lost = finite_chains({"excess": excess, "radius": torch.ones(5, 3), "virial": torch.ones(5, 3)})

    assert lost == 1
    assert traces.excess.shape == (5, 2)


def test_no_draws_are_empty_traces():
    traces, lost = finite_chains({})

    assert traces.excess.numel() == 0
    assert lost == 0
