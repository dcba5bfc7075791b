"""When a reference ends, on chains whose mean is 10 by construction."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels.types import Info, Kernel
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.llc.answer.summary import Elsewhere
from parsl_optuna.tasks.llc.engine import reference
from parsl_optuna.tasks.llc.engine.draw import Run
from parsl_optuna.tasks.llc.engine.reference import Length
from parsl_optuna.tasks.llc.engine.stages import Stages

CHAINS = 8
ESTIMAND = SimpleNamespace(
    dim=20, work=0.0, L0=0.0, beta=1.0, t=100.0, gamma=1.0, n=100, centre=torch.zeros(20),
    target=SimpleNamespace(summary=SimpleNamespace(gradient_norm=0.0, centre_bias=0.0)),
)  # fmt: skip


def around_ten(rate=math.inf, diverging=lambda factor: 0.0):
    """Return a `build` of chains with mean 10 and unit width that relax at *rate*, and the factors it saw."""
    memory, factors = math.exp(-rate), []

    def build(factor):
        factors.append(factor)

        def step(state, generator):
            kick = torch.randn(CHAINS, generator=generator, dtype=torch.float64)
            new = 10.0 + memory * (state - 10.0) + math.sqrt(1.0 - memory**2) * kick
            diverged = torch.rand(CHAINS, generator=generator) < diverging(factor)
            return new, Info(torch.ones(CHAINS), torch.zeros(CHAINS), diverged, 1)

        def observe(before, after):
            return {"excess": after, "radius": 0.1 * torch.ones_like(after), "virial": 10.0 + after}

        start = torch.full((CHAINS,), 10.0, dtype=torch.float64)
        return Run(Kernel(lambda position, _: position, step), start, 1, observe, {}, {}, is_exact=True)

    return build, factors


AGREEING = partial(Elsewhere, "near w*")
"""Chains that arrive where the others are."""


def estimated(build, generator, draws=10_000, most=10_000, relative_error=0.005, compare=AGREEING):
    stages = Stages(Checkpoint(), generator, SimpleNamespace(work=0.0))
    length = Length(draws, most, relative_error)
    return reference.estimate(ESTIMAND, build, 0, length, compare, stages, Deadline(600))


@pytest.mark.parametrize("wanted", [0.001, 0.002])
def test_draws_end_at_the_wanted_error(generator, wanted):
    build, _ = around_ten()

    metrics = estimated(build, generator, relative_error=wanted)

    needed = 1.0 / (10.0 * wanted) ** 2 / CHAINS
    assert needed / 1.3 < metrics["diagnostics"]["n_draws"] < 1.5 * needed + 250
    assert metrics["se_hat"] <= wanted * metrics["llc_hat"]
    assert abs(metrics["llc_hat"] - 10.0) < 4.0 * metrics["se_hat"]
    assert metrics["status"] == "ok"


def test_the_contract_ends_the_draws_for_a_smaller_error(generator):
    build, _ = around_ten()

    metrics = estimated(build, generator, draws=600, relative_error=1e-6)

    assert metrics["diagnostics"]["n_draws"] == 600
    assert not metrics["truncated"]


def test_chains_that_fail_the_gate_are_extended_beyond_the_contract(generator):
    build, _ = around_ten(rate=0.02)

    metrics = estimated(build, generator, draws=300, most=20_000)

    assert metrics["diagnostics"]["n_draws"] > 300
    assert metrics["status"] == "ok"


def test_the_step_is_shortened_until_no_trajectory_diverges(generator):
    build, factors = around_ten(diverging=lambda factor: 0.01 if factor > 0.5 else 0.0)

    metrics = estimated(build, generator)

    assert factors == pytest.approx([1.0, 0.6, 0.36])
    assert metrics["diagnostics"]["divergences"] == 0.0
    assert metrics["status"] == "ok"


def test_a_step_that_always_diverges_is_told(generator):
    build, factors = around_ten(diverging=lambda factor: 0.05)

    metrics = estimated(build, generator)

    assert len(factors) > 3
    assert metrics["status"] == "diverged"


def test_a_reference_that_chains_from_w_star_do_not_find_is_none(generator):
    build, _ = around_ten()

    metrics = estimated(build, generator, compare=lambda value, error: Elsewhere("near w*", 7.0, 0.1))

    assert metrics["status"] == "not_converged"
    assert "chains that began near w* have 7 ± 0.1, not 9." in metrics["status_reason"]


def test_chains_that_had_no_time_leave_it_open(generator):
    build, _ = around_ten()

    metrics = estimated(
        build, generator, compare=lambda value, error: Elsewhere("near w*", math.nan, math.nan)
    )

    assert metrics["status"] == "uncertain"
    assert "no time for chains that begin near w*" in metrics["status_reason"]
