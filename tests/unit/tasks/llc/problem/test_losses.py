import pytest
import torch
from parsl_optuna.tasks.llc.problem.losses import DeepLinearLoss, MlpLoss, MonomialLoss, QuadraticLoss
from torch.func import functional_call

LIKE = torch.empty(0, dtype=torch.float64)


def data(n, fan_in, fan_out, generator):
    x = torch.randn(n, fan_in, generator=generator, dtype=torch.float64)
    return x, torch.randn(n, fan_out, generator=generator, dtype=torch.float64)


def losses(generator):
    x, y = data(30, 3, 2, generator)
    yield "relu", MlpLoss(x, y, (3, 5, 4, 2), "relu", True)
    yield "tanh", MlpLoss(x, y, (3, 5, 2), "tanh", True, scale=0.5)
    yield "gelu", MlpLoss(x, y, (3, 5, 2), "gelu", False)
    yield "identity", MlpLoss(x, y, (3, 5, 4, 2), "identity", True)
    yield "one output", MlpLoss(x, y[:, :1], (3, 5, 1), "tanh", True)
    yield "one of each", MlpLoss(x[:, :1], y[:, :1], (1, 1, 1, 1), "tanh", True, scale=3.0)
    yield "one of each, no bias", MlpLoss(x[:, :1], y[:, :1], (1, 1, 4, 1), "relu", False)
    yield "linear", MlpLoss(x, y, (3, 2), "identity", False)
    yield "dln", DeepLinearLoss((3, 4, 2, 3), 2, 100, LIKE, 2.0)
    yield "dln-1", DeepLinearLoss((3, 2), 1, 100, LIKE, 1.0)
    yield "quadratic", QuadraticLoss(torch.tensor([1.0, 3.0]).double(), 0.3, 100, 2.0)
    yield "monomial", MonomialLoss(torch.tensor([2.0, 4.0, 2.0]).double(), 100, 1.5)


NAMES = [name for name, _ in losses(torch.Generator())]


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_autograd(name, generator):
    loss = dict(losses(generator))[name]
    w = torch.randn(4, loss.dim, generator=generator, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(loss.value(w).sum(), w)

    value, gradient = loss.value_and_grad(w.detach())

    assert torch.allclose(value, loss.value(w.detach()))
    assert torch.allclose(gradient, expected, atol=1e-10)


def test_an_mlp_is_torchs_mlp(generator):
    """Same numbers as torch.nn with the same weights; ours are stored (in, out) and flat."""
    x, y = data(20, 3, 2, generator)
    network = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
    weights = [torch.cat([layer.weight.T.flatten(), layer.bias]) for layer in (network[0], network[2])]
    flat = torch.cat(weights).detach().unsqueeze(0)
    expected = torch.nn.functional.mse_loss(functional_call(network, {}, (x,)), y)

    found = MlpLoss(x, y, (3, 5, 2), "tanh", True).value(flat)

    assert torch.allclose(found, expected.detach())


def test_minibatches_of_all_rows_are_the_full_loss(generator):
    x, y = data(20, 3, 2, generator)
    loss = MlpLoss(x, y, (3, 5, 2), "relu", True)
    w = torch.randn(3, loss.dim, generator=generator, dtype=torch.float64)
    rows = torch.stack([torch.randperm(20, generator=generator) for _ in range(3)])

    whole, part = loss.value_and_grad(w), loss.value_and_grad(w, rows)

    assert torch.allclose(whole[0], part[0])
    assert torch.allclose(whole[1], part[1])


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_minibatch_for_all_chains_is_that_one_for_each(generator, monkeypatch, activation):
    monkeypatch.setattr("parsl_optuna.tasks.llc.problem.losses._CHUNK_BYTES", 100)
    x, y = data(300, 3, 2, generator)
    loss = MlpLoss(x, y, (3, 5, 4, 2), activation, True)
    w = torch.randn(3, loss.dim, generator=generator, dtype=torch.float64)
    rows = torch.randperm(300, generator=generator)[:150]

    shared, single = loss.value_and_grad(w, rows), loss.value_and_grad(w, rows.expand(3, -1))

    assert torch.allclose(shared[0], single[0])
    assert torch.allclose(shared[1], single[1])


def test_minibatch_gradients_are_unbiased_and_differ_by_chain(generator):
    x, y = data(50, 3, 1, generator)
    loss = MlpLoss(x, y, (3, 4, 1), "tanh", True)
    w = torch.randn(1, loss.dim, generator=generator, dtype=torch.float64).expand(4000, -1)
    rows = torch.randint(50, (4000, 5), generator=generator)

    _, gradients = loss.value_and_grad(w, rows)
    _, exact = loss.value_and_grad(w[:1])

    error = gradients.std(0) / 4000**0.5
    assert bool(((gradients.mean(0) - exact[0]).abs() < 4.5 * error + 1e-12).all())
    assert not torch.equal(gradients[0], gradients[1])


def test_chunks_change_nothing(generator, monkeypatch):
    x, y = data(500, 3, 1, generator)
    loss = MlpLoss(x, y, (3, 4, 1), "tanh", True)
    w = torch.randn(4, loss.dim, generator=generator, dtype=torch.float64)
    whole = loss.value_and_grad(w)
    monkeypatch.setattr("parsl_optuna.tasks.llc.problem.losses._CHUNK_BYTES", 100)

    parts = loss.value_and_grad(w)

    assert len(loss._chunks(4)) > 1
    assert all(torch.allclose(a, b) for a, b in zip(whole, parts, strict=True))


@pytest.mark.parametrize(("device", "fewest", "most"), [("cpu", 20, 400), ("meta", 1, 1)])
def test_a_pass_is_cut_to_fit_the_caches_of_a_cpu_alone(device, fewest, most):
    x, y = torch.empty(20_000, 30, device=device), torch.empty(20_000, 2, device=device)

    pieces = MlpLoss(x, y, (30, 30, 2), "relu", True)._chunks(8)

    assert fewest <= len(pieces) <= most
    assert sum(len(part) for part, _ in pieces) == 20_000
