import pytest
import torch
from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.tasks.llc.problem.losses import QuadraticLoss
from parsl_optuna.tasks.llc.problem.timed import TimedLoss


def test_it_counts_gradients_and_ends_with_the_deadline():
    now = [0.0]
    inner = QuadraticLoss(torch.ones(3), 0.0, 50, 1.0)
    loss = TimedLoss(inner, Deadline(1.0, now=lambda: now[0]))
    w = torch.randn(2, 3)

    value, gradient = loss.value_and_grad(w)

    assert torch.equal(value, inner.value(w))
    assert torch.equal(gradient, w)
    assert loss.gradients == 100
    assert loss.seconds_for(4) == pytest.approx(2 * loss.seconds)
    now[0] = 1.0
    for late in (loss.value, loss.value_and_grad):
        with pytest.raises(Expired):
            late(w)
