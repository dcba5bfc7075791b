import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parsl_optuna.kernels.diagnostics import drift, equal_time, ess, mcse, rhat


def autoregressive(phi, draws, chains, generator):
    noise = torch.randn(draws, chains, generator=generator, dtype=torch.float64)
    trace = torch.empty_like(noise)
    trace[0] = noise[0] / math.sqrt(1 - phi**2)
    for i in range(1, draws):
        trace[i] = phi * trace[i - 1] + noise[i]
    return trace


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, -0.3])
def test_ess_of_an_ar1_process_is_its_textbook_value(phi, generator):
    """ESS = N (1 - phi) / (1 + phi); 15 % covers four standard errors of the estimate at N = 40,000."""
    trace = autoregressive(phi, 10_000, 4, generator)

    found = ess(trace)

    assert found == pytest.approx(40_000 * (1 - phi) / (1 + phi), rel=0.15)


def test_mcse_covers_the_error_of_the_mean(generator):
    """Of 200 AR(1) runs about 95 % lie within 1.96 errors; the bounds are 3.5 binomial sd."""
    hits = 0
    for _ in range(200):
        trace = autoregressive(0.7, 400, 2, generator)
        hits += abs(float(trace.mean())) < 1.96 * mcse(trace)

    assert 179 <= hits <= 200


def test_rhat_is_one_for_independent_draws_and_large_for_shifted_chains(generator):
    trace = torch.randn(1000, 4, generator=generator, dtype=torch.float64)
    shifted = trace + torch.tensor([0.0, 0.0, 0.0, 2.0])
    scaled = trace * torch.tensor([1.0, 1.0, 1.0, 5.0])

    assert rhat(trace) == pytest.approx(1.0, abs=0.01)
    assert rhat(shifted) > 1.1
    assert rhat(scaled) > 1.1  # only the folded part sees this one


def test_drift_sees_a_trend(generator):
    trace = torch.randn(1000, 4, generator=generator, dtype=torch.float64)
    trend = trace + torch.linspace(0, 1, 1000, dtype=torch.float64).unsqueeze(1)

    assert abs(drift(trace)) < 4
    assert drift(trend) > 10


@pytest.mark.parametrize("shape", [(0, 0), (100, 0), (3, 4)])
def test_too_few_draws_give_nan_not_an_error(shape):
    trace = torch.zeros(shape)

    assert math.isnan(ess(trace))
    assert math.isnan(rhat(trace))
    assert math.isnan(mcse(trace))
    assert math.isnan(drift(trace))


def test_a_diverged_trace_gives_nan():
    trace = torch.full((100, 2), math.nan)

    assert math.isnan(ess(trace))
    assert math.isnan(rhat(trace))


def test_equal_weights_leave_a_trace_alone(generator):
    trace = torch.randn(50, 2, generator=generator, dtype=torch.float64)

    assert equal_time(trace, torch.full((50,), 0.3, dtype=torch.float64)) is trace


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.01, 10.0), min_size=2, max_size=60), st.integers(0, 1000))
def test_the_mean_over_equal_times_is_the_weighted_mean(weights, seed):
    weight = torch.tensor(weights, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    trace = torch.randn(len(weights), 3, generator=generator, dtype=torch.float64)
    expected = (weight.unsqueeze(1) * trace).sum(0) / weight.sum()

    found = equal_time(trace, weight).mean(0)

    assert torch.allclose(expected, found, atol=1e-9)


def test_the_ess_of_an_alternating_trace_is_capped():
    """Its mean is known better than from independent draws; how much better, draws cannot tell (Stan's
    cap).
    """
    trace = (-1.0) ** torch.arange(1000, dtype=torch.float64).unsqueeze(1).expand(1000, 4)

    assert ess(trace) == pytest.approx(4000 * math.log10(4000))
