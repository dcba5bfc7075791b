import torch
from parsl_optuna.tasks.llc.problem.graph import kept, nodes


def test_what_autograd_recorded():
    w = torch.ones(3, requires_grad=True)
    value = (w.exp() * w).sum()

    assert {node.name() for node in nodes(value)} >= {"SumBackward0", "MulBackward0", "ExpBackward0"}
    assert len({tensor.data_ptr() for tensor in kept(value)}) == 2  # exp(w), and w


def test_nothing_was_recorded_of_a_constant():
    assert nodes(torch.ones(())) == []
    assert list(kept(torch.ones(()))) == []
