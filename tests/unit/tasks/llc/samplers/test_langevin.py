"""A loss whose gradient jumps, of which no curvature tells how long a step may be."""

import math

import parsl_optuna
import pytest
import torch
from scipy.special import erfcx

from tests.scenarios import Place

N, DIM = 500, 8
T = N / math.log(N)


def found(loss, kernel="langevin"):
    noise = torch.randn(N, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return parsl_optuna.estimate_llc(
        Place(DIM),
        lambda outputs, y: loss(outputs) + 0.01 * y.mean(),
        (noise, noise),
        kernel=kernel,
        relative_error=0.03,
        budget_sec=20.0,
    )


def test_steps_across_kinks_are_tested():
    """Of t |w| + w^2/2 in each direction: E[t |w|] = t (sqrt(2/pi)/erfcx(t/sqrt(2)) - t), by parts."""
    truth = DIM * T * (math.sqrt(2.0 / math.pi) / float(erfcx(T / math.sqrt(2.0))) - T)

    result = found(lambda outputs: outputs.abs().sum(1).mean())

    assert result.status == "ok", result.reason
    assert result.llc == pytest.approx(truth, abs=4.0 * result.se)
    assert result.metrics["diagnostics"]["rejection_threshold"] == 0.0


def test_steps_of_a_smooth_loss_pass_untested():
    result = found(lambda outputs: outputs.square().sum(1).mean())

    assert result.llc == pytest.approx(DIM * T / (2.0 * T + 1.0), rel=0.02)
    assert result.metrics["diagnostics"]["rejection_threshold"] > 0.0
