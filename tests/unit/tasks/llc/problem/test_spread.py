"""Two or three copies on the CPU, each in a thread; what a GPU adds is in `tests/test_devices.py`."""

import math
import time
import warnings

import pytest
import torch
from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.api import Settings, run
from parsl_optuna.tasks.llc.problem.curvature import hvp
from parsl_optuna.tasks.llc.problem.examples import read
from parsl_optuna.tasks.llc.problem.pose import pose
from parsl_optuna.tasks.llc.problem.posed import unaccelerated_attention
from parsl_optuna.tasks.llc.problem.selection import select
from parsl_optuna.tasks.llc.problem.spread import SpreadLoss
from torch import nn

CPU = torch.device("cpu")
STREAM = torch.Generator().manual_seed(3)
X = torch.randn(120, 3, generator=STREAM, dtype=torch.float64)
Y = torch.randint(2, (120,), generator=STREAM)


class Recurrent(nn.Module):
    """A GRU, whose chains go one by one."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(1, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.rnn(x.unsqueeze(2))[0][:, -1])


class Counting(Recurrent):
    """Changes a buffer in every forward pass."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class Attention(nn.Module):
    """A layer that has a faster path without gradients, which chains of one weight vector must not take."""

    def __init__(self):
        super().__init__()
        self.block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

    def forward(self, x):
        return self.block(x.unsqueeze(2).expand(-1, -1, 4)).mean(1)[:, :2]


class Named(nn.Module):
    """Batch normalization with running statistics, weight norm and a frozen layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.utils.weight_norm(nn.Linear(3, 4))
        self.norm, self.last = nn.BatchNorm1d(4), nn.Linear(4, 2).requires_grad_(requires_grad=False)
        self.norm.running_mean.fill_(0.3)

    def forward(self, x):
        return self.last(torch.tanh(self.norm(self.first(x))))


def scripted():
    return torch.jit.script(nn.Sequential(nn.Linear(3, 4), nn.ELU(), nn.Linear(4, 2)))


def posed(model, copies=1, loss=None, y=Y, **options):
    torch.manual_seed(1)
    model = model() if isinstance(model, type) or not isinstance(model, nn.Module) else model
    return pose(
        model,
        loss or nn.CrossEntropyLoss(),
        read((X, y)),
        options.pop("selection", None) or select(model),
        options.pop("dtype", torch.float64),
        others=[CPU] * (copies - 1),
        **options,
    )


MODELS = {
    "one by one": Recurrent,
    "buffers": Counting,
    "attention": Attention,
    "together": Named,
    "scripted": scripted,
}


@pytest.mark.filterwarnings("ignore")  # of weight_norm and of jit, that they are old
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("chains", [1, 2, 5])
def test_several_devices_give_the_numbers_of_one(name, chains):
    one, two = posed(MODELS[name]), posed(MODELS[name], copies=3)
    w = one.weights + 0.3 * torch.randn(chains, one.loss.dim, dtype=torch.float64)
    own = torch.randint(120, (chains, 7))

    assert isinstance(two.loss, SpreadLoss)
    assert two.chains == f"{one.chains}, spread over cpu, cpu, cpu"
    assert torch.equal(one.weights, two.weights)
    assert torch.allclose(one.loss.value(w), two.loss.value(w), rtol=1e-12)
    for rows in (None, own, own[0]):
        expected, found = one.loss.value_and_grad(w, rows), two.loss.value_and_grad(w, rows)
        for first, second in zip(expected, found, strict=True):
            assert torch.allclose(first, second, rtol=1e-11, atol=1e-14)
            assert not second.requires_grad


def test_chains_that_go_one_by_one_give_the_same_bits_every_time():
    one, two = posed(Recurrent).loss, posed(Recurrent, copies=2).loss
    w = torch.randn(8, one.dim, dtype=torch.float64)
    expected = one.value_and_grad(w)

    for _ in range(20):
        for first, second in zip(expected, two.value_and_grad(w), strict=True):
            assert torch.equal(first, second)


def test_networks_with_gradients_by_hand_are_spread_as_well():
    plain = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    options = {"loss": nn.MSELoss(), "y": X[:, :1]}
    one, two = posed(plain, **options), posed(plain, copies=2, **options)
    w = torch.randn(6, one.loss.dim, dtype=torch.float64)

    assert isinstance(two.loss, SpreadLoss)
    for first, second in zip(one.loss.value_and_grad(w), two.loss.value_and_grad(w), strict=True):
        assert torch.allclose(first, second, rtol=1e-12)


def test_some_elements_and_second_derivatives_are_those_of_one_device():
    torch.manual_seed(1)
    model = Recurrent()
    masks = {"head.weight": torch.tensor([[True, False, True], [False, True, True]])}
    one, two = (posed(model, copies, selection=select(model, masks)) for copies in (1, 2))
    directions = torch.randn(5, 4, dtype=torch.float64)

    assert two.loss.dim == 4
    expected = hvp(one.loss, one.weights, directions)
    assert torch.allclose(expected, hvp(two.loss, two.weights, directions), rtol=1e-6)


def test_what_the_callers_thread_is_in_reaches_no_other():
    """Gradients, inference mode and autocast are of a thread; warnings and attention of the process."""
    loss = posed(Attention, copies=2).loss
    w = torch.randn(4, loss.dim, dtype=torch.float64)
    expected = loss.value_and_grad(w)
    filters, fast = list(warnings.filters), torch.backends.mha.get_fastpath_enabled()

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = loss.value_and_grad(w)
    with torch.inference_mode():
        values = loss.value(w)

    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert torch.equal(values, loss.value(w))
    for _ in range(50):
        loss.value_and_grad(w)
    assert warnings.filters == filters
    assert torch.backends.mha.get_fastpath_enabled() is fast
    with unaccelerated_attention():
        loss.value(w)
        assert not torch.backends.mha.get_fastpath_enabled()


class Picky(Recurrent):
    """Fails where its last weight is large."""

    def forward(self, x):
        if float(self.head.bias.detach()[-1]) > 50.0:
            raise ValueError("too large")
        return super().forward(x)


@pytest.mark.parametrize("chain", [0, 3])
def test_what_the_users_code_raises_in_a_thread_is_told_as_elsewhere(chain):
    loss = posed(Picky, copies=2).loss
    w = torch.zeros(4, loss.dim, dtype=torch.float64)
    w[chain, -1] = 100.0

    with pytest.raises(SpecError, match=r"it raised ValueError: too large \(example 0 of data\)"):
        loss.value_and_grad(w)

    w[chain, -1] = 0.0
    assert len(loss.value(w)) == 4


def test_a_deadline_ends_the_chains_of_every_device():
    """The clock jumps in the middle: when the error comes, no thread is in the model any more."""
    state = {"now": 0.0, "inside": 0, "slow": False}

    class Slow(Recurrent):
        def forward(self, x):
            if state["slow"]:
                state["inside"] += 1
                time.sleep(0.02)
                state["now"] = 10.0
                state["inside"] -= 1
            return super().forward(x)

    loss = posed(Slow, copies=2, deadline=Deadline(5.0, lambda: state["now"], 0.0), together=False).loss
    state["slow"] = True

    with pytest.raises(Expired):
        loss.value_and_grad(torch.zeros(6, loss.dim, dtype=torch.float64))

    assert state["inside"] == 0


def test_threads_share_the_cores_and_end_with_the_loss():
    cores = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        loss = posed(Recurrent, copies=2).loss
        shares = [thread.submit(torch.get_num_threads).result() for thread in loss._threads]
        assert shares == [2, 2]
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(cores)

    threads = [next(iter(thread._threads)) for thread in loss._threads]
    assert all(thread.is_alive() for thread in threads)
    del loss
    for thread in threads:
        thread.join(5.0)
    assert not any(thread.is_alive() for thread in threads)


class Branching(nn.Linear):
    """Control flow on numbers, so that chains go one by one."""

    def forward(self, x):
        return super().forward(x) * (1.0 if float(self.weight.detach().sum()) < math.inf else 2.0)


def test_an_estimate_on_two_devices_is_that_of_one():
    torch.manual_seed(2)
    model = Branching(3, 2).double()
    data = X, model(X).detach()
    observables = {"losses": (X[:5], data[1][:5]), "norm": lambda model: model.weight.norm()}
    one, two = (
        run(
            model,
            nn.MSELoss(),
            data,
            Settings(device=device, relative_error=0.2, observables=observables),
            Deadline(60.0),
        )
        for device in (None, ["cpu", "cpu"])
    )

    assert (one.metrics["device"], two.metrics["device"]) == ("cpu", "cpu,cpu")
    assert two.metrics["chains"].startswith("one by one (RuntimeError: ")
    assert two.metrics["chains"].endswith(", spread over cpu, cpu")
    assert one.metrics["llc_hat"] == pytest.approx(two.metrics["llc_hat"], rel=1e-6)
    for name in observables:
        assert one.observables[name] == pytest.approx(two.observables[name], rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_large_network_goes_one_by_one_on_every_device(dtype):
    wide = nn.Sequential(nn.Linear(3, 200), nn.ReLU(), nn.Linear(200, 120), nn.ReLU(), nn.Linear(120, 2))
    one, two = posed(wide, dtype=dtype), posed(wide, copies=2, dtype=dtype)
    w = one.weights.repeat(4, 1)

    assert two.chains.startswith("one by one, spread")
    for first, second in zip(one.loss.value_and_grad(w), two.loss.value_and_grad(w), strict=True):
        assert torch.equal(first, second)
