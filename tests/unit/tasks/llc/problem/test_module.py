import copy
from functools import partial

import pytest
import torch
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.examples import Examples, read
from parsl_optuna.tasks.llc.problem.module import ModuleLoss
from parsl_optuna.tasks.llc.problem.posed import Calling, Posed, private_copy
from torch import nn


@pytest.fixture
def data(generator):
    x = torch.randn(300, 3, generator=generator, dtype=torch.float64)
    return x, torch.randn(300, 2, generator=generator, dtype=torch.float64)


class Residual(nn.Module):
    """No plain chain of layers, with buffers and dropout."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(3, 2)

    def forward(self, x):
        return self.out(self.drop(self.norm(x + torch.relu(self.inner(x)))))


class Branching(Residual):
    """Control flow on numbers, which cannot be batched over chains."""

    def forward(self, x):
        return super().forward(x) if float(self.inner.weight.detach().sum()) > -99 else x


class Counting(Residual):
    """Changes a buffer in every forward pass, and uses it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * self.calls


def posed(data, model=None, names=None, **options):
    torch.manual_seed(0)
    model = private_copy(model or Residual()).double()
    chosen = names or [name for name, _ in model.named_parameters()]
    return ModuleLoss(Posed(model, nn.functional.mse_loss, Calling("outputs")), chosen, read(data), **options)


def expected(data, model=None):
    torch.manual_seed(0)
    model = private_copy(model or Residual()).double()
    value = nn.functional.mse_loss(model(data[0]), data[1])
    value.backward()
    return value.detach(), torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("together", [True, False])
def test_losses_and_gradients_are_those_of_the_module(data, together):
    loss = posed(data, together=together)
    w = loss.flat().repeat(3, 1)

    value, gradient = loss.value_and_grad(w)

    truth, slope = expected(data)
    assert loss.together is together
    assert torch.allclose(value, truth.expand(3))
    assert torch.allclose(gradient, slope.expand(3, -1))
    assert torch.allclose(loss.value(w), truth.expand(3))


@pytest.mark.parametrize("together", [True, False])
def test_chunks_that_fit_the_memory_give_the_same(data, together):
    whole, small = posed(data, together=together), posed(data, together=together, most_bytes=10_000)
    w = whole.flat() + 0.1 * torch.randn(2, whole.dim, dtype=torch.float64)

    assert len(list(small._chunks(2, None))) > 3
    for first, second in zip(whole.value_and_grad(w), small.value_and_grad(w), strict=True):
        assert torch.allclose(first, second)
    assert torch.allclose(whole.value(w), small.value(w))


@pytest.mark.parametrize("together", [True, False])
def test_minibatches_are_rows_of_the_data(data, generator, together):
    loss = posed(data, together=together)
    rows = torch.randint(300, (2, 9), generator=generator)
    w = loss.flat() + 0.1 * torch.randn(2, loss.dim, generator=generator, dtype=torch.float64)

    value, gradient = loss.value_and_grad(w, rows)
    shared, shared_gradient = loss.value_and_grad(w, rows[0])

    for chain in range(2):
        part = posed(tuple(column[rows[chain]] for column in data))
        alone, alone_gradient = part.value_and_grad(w[chain : chain + 1])
        assert torch.allclose(value[chain], alone[0])
        assert torch.allclose(gradient[chain], alone_gradient[0])
    assert torch.allclose(shared[0], value[0])
    assert torch.allclose(shared_gradient[0], gradient[0])


def test_some_parameters_vary_and_the_others_stay(data):
    loss = posed(data, names=["out.weight", "inner.bias"])
    torch.manual_seed(0)
    model = private_copy(Residual()).double()
    nn.functional.mse_loss(model(data[0]), data[1]).backward()

    _, gradient = loss.value_and_grad(loss.flat().unsqueeze(0))

    assert torch.allclose(gradient[0], torch.cat([model.out.weight.grad.flatten(), model.inner.bias.grad]))


@pytest.mark.parametrize(
    ("model", "reason"), [(Branching(), "RuntimeError"), (Counting(), "changes buffers")]
)
def test_what_cannot_be_batched_over_chains_runs_one_by_one_and_says_so(data, model, reason):
    loss = posed(data, model)
    w = loss.flat().repeat(2, 1)

    value, gradient = loss.value_and_grad(w)

    truth, slope = expected(data, model)
    assert reason in str(loss.way)
    assert torch.allclose(value, truth.expand(2))
    assert torch.allclose(gradient, slope.expand(2, -1))
    assert torch.allclose(loss.value(w), truth.expand(2))


@pytest.mark.parametrize("model", [Residual(), Counting()])
def test_a_copy_has_weights_and_buffers_of_its_own_and_gives_the_same(data, model):
    """`Counting` has counted passes before; a pass of its copy begins where one of its own does."""
    loss = posed(data, model, names=["out.weight", "inner.bias"])
    w = loss.flat() + 0.1
    expected = loss.value_and_grad(w.repeat(2, 1))

    copied = partial(loss.on, model, nn.functional.mse_loss, torch.device("cpu"))
    copy = copied()

    assert copy.way == loss.way
    for first, second in zip(expected, copy.value_and_grad(w.repeat(2, 1)), strict=True):
        assert torch.allclose(first, second)
    copy.value_and_grad(0.0 * w.repeat(2, 1))
    assert torch.allclose(loss.tried(w), copied().tried(w))
    assert not {id(value) for value in loss._live} & {id(value) for value in copy._live}


def test_large_passes_go_one_by_one(generator):
    x = torch.randn(2000, 100, generator=generator, dtype=torch.float64)
    wide = nn.Sequential(nn.Linear(100, 50), nn.Tanh(), nn.Linear(50, 1))

    assert not posed((x, x[:, :1]), wide).together


def test_parameters_that_are_not_contiguous_and_channels_last_stay_right(generator):
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(12, 2)).to(
        memory_format=torch.channels_last
    )
    model[2].weight = nn.Parameter(torch.randn(12, 2, generator=generator).T)
    x = torch.randn(20, 2, 3, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(20, 2, generator=generator, dtype=torch.float64)

    for together in (True, False):
        loss = posed((x, y), model, together=together)
        value, gradient = loss.value_and_grad(loss.flat().unsqueeze(0))
        truth, slope = expected((x, y), model)
        assert torch.allclose(value[0], truth)
        assert torch.allclose(gradient[0], slope)


def test_constants_of_a_batch_reach_every_minibatch(data, generator):
    def scaled(model, batch):
        return batch["scale"] * nn.functional.mse_loss(model(batch["x"]), batch["y"])

    batch = {"x": data[0], "y": data[1], "scale": 3.0, "name": "a"}
    model = private_copy(Residual()).double()
    loss = ModuleLoss(
        Posed(model, scaled, Calling("model")), ["out.bias"], Examples(batch, 300), together=True
    )
    rows = torch.randint(300, (1, 5), generator=generator)

    value, _ = loss.value_and_grad(loss.flat().unsqueeze(0), rows)

    part = {**batch, "x": data[0][rows[0]], "y": data[1][rows[0]]}
    assert torch.allclose(value[0], scaled(model, part).detach())


class Late(Residual):
    """Rewrites a weight, or moves it, from some moment on."""

    rewrites = moves = False

    def forward(self, x):
        with torch.no_grad():
            if self.rewrites:
                self.inner.weight.clamp_(-9.0, 9.0)
        if self.moves:
            self.inner.weight.data = self.inner.weight.data.clone()
        return super().forward(x)


@pytest.mark.parametrize(("together", "change"), [(True, "rewrites"), (False, "rewrites"), (False, "moves")])
def test_weights_that_a_pass_rewrites_are_told_where_no_check_saw_it(data, together, change):
    loss = posed(data, Late(), together=together)
    w = loss.flat().expand(3, -1).clone()
    loss.value_and_grad(w)
    setattr(loss._posed.model, change, True)

    for evaluate in (loss.value, loss.value_and_grad):
        with pytest.raises(SpecError, match=r"a forward pass rewrites|has been modified inplace"):
            evaluate(w)


def test_recurrent_layers_leave_their_weights_where_they_are():
    """On CUDA they would gather them in memory of their own, and so no longer see those that are sampled."""
    copied = copy.deepcopy(private_copy(nn.Sequential(nn.GRU(3, 2))).double())
    weight = copied[0].weight_ih_l0
    weight.data = torch.zeros(100, dtype=torch.float64)[: weight.numel()].view_as(weight)
    before = weight.data_ptr()

    copied[0].flatten_parameters()

    assert copied[0].flatten_parameters.__module__.endswith("posed")
    assert weight.data_ptr() == before


def penalised(model, batch):
    """A penalty on the derivatives by inputs, by functions of torch.func, which allow no hooks."""
    x, y = batch
    slopes = torch.func.vmap(torch.func.jacrev(model))(x)
    return (model(x) - y).square().mean() + 0.1 * slopes.square().mean()


def curved(model, batch):
    """The same of second derivatives: autograd keeps tensors of which there is no memory."""
    x, y = batch
    curvatures = torch.func.vmap(torch.func.hessian(lambda one: model(one).sum()))(x)
    return (model(x) - y).square().mean() + 0.1 * curvatures.square().mean()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, of forward mode
@pytest.mark.parametrize("loss_of", [penalised, curved])
def test_a_loss_of_derivatives_by_torch_func(data, loss_of):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    posed = Posed(private_copy(model), loss_of, Calling("model"))

    loss = ModuleLoss(posed, [name for name, _ in model.named_parameters()], read(data))

    value, gradient = loss.value_and_grad(loss.flat().unsqueeze(0))
    expected = loss_of(model, data)
    slopes = torch.autograd.grad(expected, list(model.parameters()))
    torch.testing.assert_close(value[0], expected.detach())
    torch.testing.assert_close(gradient[0], torch.cat([slope.flatten() for slope in slopes]))
    assert loss.pass_bytes > 300 * 8 * (4 + 2)
