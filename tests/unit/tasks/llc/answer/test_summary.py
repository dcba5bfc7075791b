import math

import pytest
import torch
from parsl_optuna.tasks.llc.answer.summary import Draws, Traces, finite_chains, known_bias
from parsl_optuna.tasks.llc.answer.verdict import Nature

NOTHING = Traces(*(torch.empty(0, 0) for _ in Traces._fields))
FIT = {"llc_corrected": 2.3, "khat": 0.4}


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


@pytest.mark.parametrize(
    ("seen", "added", "bias"),
    [
        ({"virial_ratio": 1.05, "virial_se": 0.01}, {}, 2.0 * math.sqrt(0.05**2 - 0.02**2)),
        ({"virial_ratio": 0.95, "virial_se": 0.0}, {"step_bias": 0.24}, 0.26),  # hypot(0.1, 0.24)
        ({"virial_ratio": 1.05, "virial_se": 0.03}, {}, 0.0),  # chance
        (
            {"virial_ratio": 1.05, "virial_se": 0.01},
            {"step_bias": 0.2, "heat": 0.4},
            0.2,
        ),  # 0.4 of 10: the steps
        (
            {"virial_ratio": 0.95, "virial_se": 0.01},
            {"nature": Nature(is_exact=True)},
            2.0 * math.sqrt(0.05**2 - 0.02**2),
        ),
        ({"virial_ratio": 0.99, "virial_se": 0.01}, {"nature": Nature(is_exact=True)}, 0.0),
        (FIT, {"nature": Nature(is_fit=True)}, 0.3),
        (FIT | {"khat": 0.9}, {"nature": Nature(is_fit=True)}, None),
    ],
)
def test_a_bias_is_what_shows_of_chains_and_of_fits(seen, added, bias):
    found = known_bias(2.0, seen, Draws(NOTHING, **added), dim=10)

    assert found == (bias if bias is None else pytest.approx(bias))
