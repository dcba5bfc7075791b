import pytest
import torch
from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.checks import check
from parsl_optuna.tasks.llc.problem.examples import read
from parsl_optuna.tasks.llc.problem.posed import as_called, pose_loss, private_copy
from torch import nn
from torch.nn import functional

N = 60
X = torch.randn(N, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = X @ torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)


def checked(loss, data=(X, Y), model=None):
    model = model or nn.Linear(3, 1).double()
    copied, examples = private_copy(model).double(), read(data)
    posed = pose_loss(copied, loss, examples, torch.float64)
    return check(posed, list(copied.parameters()), as_called(posed.calling, examples, torch.float64), model)


def exact():
    model = nn.Linear(3, 1).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0, 3.0]]))
        model.bias.zero_()
    return model


@pytest.mark.parametrize(
    "loss",
    [
        nn.MSELoss(),
        functional.l1_loss,
        lambda outputs, y: (outputs - y).square().mean() - 7.0,
        lambda model, batch: (model(batch[0]) - batch[1]).pow(2).mean() + 0.1 * model.weight.square().sum(),
        lambda outputs, y: (y.abs() * (outputs - y) ** 2).mean(),
    ],
    ids=["module", "function", "shifted", "with a penalty", "with weights of examples"],
)
def test_means_over_examples_pass(loss):
    assert checked(loss) == []


def test_weights_are_as_before(monkeypatch):
    model = private_copy(exact())
    posed = pose_loss(model, nn.MSELoss(), read((X, Y)), torch.float64)

    check(posed, list(model.parameters()), read((X, Y)), exact())

    assert torch.equal(model.weight, exact().weight)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (nn.MSELoss(reduction="sum"), r"must be a mean over examples \(reduction='mean'\)"),
        (nn.MSELoss(reduction="none"), r"tensor of shape \(60, 1\); it must be one number"),
        (lambda outputs, y: (outputs - y).square().mean().sqrt(), "mean over examples"),
        (
            lambda outputs, y: ((outputs - y) ** 2 * (y > 0)).sum() / (y > 0).sum(),
            "not by the sum of weights",
        ),
        (lambda outputs, y: (outputs - outputs.mean()).square().mean() + y.mean(), "mean over examples"),
        (lambda outputs, y: (outputs - y).square().sum() / 64, "mean over examples"),
        (lambda outputs, y: (outputs - y).square().mean().item(), "returns a float"),
        (lambda outputs, y: (outputs - y).square().mean() / 0.0, "must be finite"),
        (
            lambda outputs, y: (outputs.detach() - y).square().mean(),
            "does not depend on the sampled parameters",
        ),
        (lambda outputs, y: (outputs - y).square().mean() * torch.rand(()), "must not be random"),
    ],
)
def test_what_is_no_mean_is_refused_at_perturbed_weights(loss, said):
    """At w* itself the loss is 0, or no number."""
    with pytest.raises(SpecError, match=said):
        checked(loss, model=exact())


def test_class_weights_are_refused_with_the_cure():
    labels = (X[:, 0] > 0).long()
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0], dtype=torch.float64))

    with pytest.raises(SpecError, match=r"reduction='none'\).mean\(\)"):
        checked(loss, (X, labels), nn.Linear(3, 2).double())

    weight = torch.tensor([1.0, 3.0], dtype=torch.float64)
    cured = lambda outputs, y: functional.cross_entropy(outputs, y, weight, reduction="none").mean()  # noqa: E731
    assert checked(cured, (X, labels), nn.Linear(3, 2).double()) == []


def test_a_label_that_is_no_class_is_named():
    labels = (X[:, 0] > 0).long()
    labels[7] = 5

    with pytest.raises(SpecError, match="example 7 of data"):
        checked(nn.CrossEntropyLoss(), (X, labels), nn.Linear(3, 2).double())


def test_the_gradient_of_a_padding_row_is_that_of_the_loss():
    """`nn.Embedding` leaves it out of the gradient only, which is no slope of the loss then."""
    model = nn.Sequential(nn.Embedding(5, 3, padding_idx=0), nn.Flatten(), nn.Linear(6, 1)).double()

    assert checked(nn.MSELoss(), (torch.arange(120).reshape(60, 2) % 5, Y), model) == []


def test_targets_that_are_broadcast_are_refused():
    with pytest.raises(SpecError, match=r"\(60, 1\) and y of shape \(60,\) are broadcast"):
        checked(nn.MSELoss(), (X, Y[:, 0]))


def test_dropout_that_ignores_evaluation_mode_is_refused():
    class Noisy(nn.Linear):
        def forward(self, x):
            return functional.dropout(super().forward(x))

    with pytest.raises(SpecError, match="must not be random"):
        checked(nn.MSELoss(), model=Noisy(3, 1).double())


def test_a_loss_that_uses_the_users_own_model_is_refused():
    model = nn.Linear(3, 1).double()
    penalised = lambda outputs, y: (outputs - y).square().mean() + model.weight.square().sum()  # noqa: E731

    with pytest.raises(SpecError, match="outside of its arguments"):
        checked(penalised, model=model)


class StraightThrough(torch.autograd.Function):
    """Rounds, and says that it does not."""

    @staticmethod
    def forward(ctx, x):
        return x.round(decimals=1)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def test_a_gradient_that_is_not_that_of_the_loss_is_refused():
    rounded = lambda outputs, y: (StraightThrough.apply(outputs) - y).square().mean()  # noqa: E731
    stopped = lambda outputs, y: (outputs - 0.5 * outputs.detach() - y).square().mean()  # noqa: E731

    for loss in (rounded, stopped):
        with pytest.raises(SpecError, match="its gradient is not its slope"):
            checked(loss)


class StoppedInside(nn.Module):
    """Stops the gradient of a layer whose share of the whole is small."""

    def __init__(self):
        super().__init__()
        self.inner, self.out, self.scale = nn.Linear(3, 4), nn.Linear(4, 1), nn.Parameter(torch.tensor(0.05))

    def forward(self, x):
        hidden = self.inner(x)
        return self.out(self.scale * self.forward_only(hidden) + x.mean(1, keepdim=True)) + 10 * x[:, :1]


class Rounds(StoppedInside):
    forward_only = StraightThrough.apply


class Detaches(StoppedInside):
    @staticmethod
    def forward_only(x):
        return x.detach()


@pytest.mark.parametrize("model", [Rounds, Detaches])
@pytest.mark.parametrize("seed", range(10))
def test_a_wrong_gradient_of_a_small_part_is_refused(model, seed):
    torch.manual_seed(seed)

    with pytest.raises(SpecError, match="its gradient is not its slope"):
        checked(nn.MSELoss(), model=model().double())


def test_a_model_that_computes_in_float32_inside_passes():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.out = nn.Linear(3, 4), nn.Linear(4, 1)

        def forward(self, x):
            hidden = functional.linear(x.float(), self.inner.weight.float(), self.inner.bias.float()).tanh()
            return self.out(hidden.double())

    assert checked(nn.MSELoss(), model=Single().double()) == []


@pytest.mark.filterwarnings("ignore")
def test_kinks_and_scripted_models_pass():
    model = torch.jit.script(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)).double())

    assert checked(nn.MSELoss(), model=model) == []


def test_parameters_without_effect_are_told():
    class Idle(nn.Linear):
        def __init__(self):
            super().__init__(3, 1)
            self.idle = nn.Parameter(torch.zeros(2))

    assert checked(nn.MSELoss(), model=Idle().double()) == ["parameters without effect on the loss: idle"]


class Partly(nn.Linear):
    """The gradient lacks what a part of the weights has."""

    def __init__(self, how):
        super().__init__(3, 3)
        self.how = how

    def forward(self, x):
        if self.how == "a row":
            weight = torch.cat([self.weight[:1].detach(), self.weight[1:]])
            return functional.linear(x, weight, self.bias)
        return functional.linear(torch.tanh(super().forward(x)), self.weight.detach())


@pytest.mark.parametrize("how", ["a row", "a use"])
def test_a_gradient_that_lacks_a_part_is_refused(how):
    """Along itself such a gradient is right."""
    with pytest.raises(SpecError, match="its gradient is not its slope"):
        checked(lambda outputs, y: (outputs - y).square().mean(), model=Partly(how).double())


def test_a_constant_loss_is_refused():
    with pytest.raises(SpecError, match="is constant close to the weights"):
        checked(lambda outputs, y: 0.0 * outputs.mean() + y.mean())


def test_checks_end_with_the_budget():
    model, examples = private_copy(exact()), read((X, Y))
    posed = pose_loss(model, nn.MSELoss(), examples, torch.float64)
    ticks = iter(range(100))
    posed.deadline = Deadline(5.0, now=lambda: float(next(ticks)))

    with pytest.raises(Expired):
        check(posed, list(model.parameters()), examples, exact())


@pytest.mark.parametrize("model", [exact(), Partly("a row").double()], ids=["right", "wrong"])
def test_slopes_of_slow_losses_are_looked_at_on_fewer_examples(model):
    copied, examples, clock = private_copy(model), read((X, Y)), [0.0]

    def slow(outputs, y):
        clock[0] += 0.02 * len(y)
        return functional.mse_loss(outputs, y)

    posed = pose_loss(copied, slow, examples, torch.float64)
    posed.deadline = Deadline(100.0, now=lambda: clock[0])

    if isinstance(model, Partly):
        with pytest.raises(SpecError, match="its gradient is not its slope"):
            check(posed, list(copied.parameters()), examples, model)
    else:
        check(posed, list(copied.parameters()), examples, model)
    assert clock[0] < 20.0  # 42 if all are on 60


class Signs(nn.Module):
    """Jumps between its layers: the gradient of the first one is zero almost everywhere."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.function = nn.Linear(3, 8).double(), nn.Linear(8, 1).double(), function

    def forward(self, x):
        return self.second(self.function(self.first(x)))


@pytest.mark.parametrize(
    "function",
    [
        torch.sign,
        torch.round,
        lambda x: torch.where(x > 0, 1.0, x),
    ],
)
def test_a_loss_that_jumps_is_refused(function):
    with pytest.raises(SpecError, match="at which the loss jumps"):
        checked(nn.MSELoss(), model=Signs(function))


class Routed(nn.Module):
    """Two experts, of which the better one in the eyes of a router is asked."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.router, self.experts = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()

    def forward(self, x):
        gates = self.router(x).softmax(1)
        best = gates.argmax(1, keepdim=True)
        return (gates * self.experts(x)).gather(1, best)


def test_routing_jumps_and_its_experts_alone_do_not():
    with pytest.raises(SpecError, match=r"routing to the k best.*sample only parameters behind the jump"):
        checked(nn.MSELoss(), model=Routed())
    copied, examples = private_copy(Routed()), read((X, Y))
    posed = pose_loss(copied, nn.MSELoss(), examples, torch.float64)

    assert check(posed, list(copied.experts.parameters()), examples, Routed()) == []


def test_a_loss_of_data_that_it_captured_is_refused():
    """Its n would be that of other data."""
    with pytest.raises(SpecError, match="is the same whichever examples it is given"):
        checked(lambda model, batch: (model(X) - Y).square().mean(), data=torch.arange(N, dtype=X.dtype))


def test_a_loss_without_data_takes_equal_examples():
    assert (
        checked(lambda model, batch: model.weight.square().sum() + model.bias[0] ** 2, torch.zeros(9, 1))
        == []
    )


def test_statistics_of_the_batch_are_refused_by_name():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False), nn.Linear(2, 1))

    with pytest.raises(SpecError, match="BatchNorm1d without running statistics takes those of the batch"):
        checked(nn.MSELoss(), model=model.double())


@pytest.mark.parametrize(
    "function",
    [
        torch.relu,
        torch.tanh,
        torch.abs,
        nn.functional.hardtanh,
        lambda x: x.clamp(min=0.3),
        lambda x: x.max(1, True)[0] + x,
    ],
)
def test_a_loss_with_kinks_is_not(function):
    checked(nn.MSELoss(), model=Signs(function))


class Short(torch.autograd.Function):
    """A gradient that is 3 % too short."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 0.97 * gradient


def test_a_gradient_that_is_wrong_by_3_percent_is_refused():
    with pytest.raises(SpecError, match="is not its slope"):
        checked(nn.MSELoss(), model=Signs(lambda x: Short.apply(torch.tanh(x))))


class Rewrites(nn.Module):
    """Rewrites a weight in its forward pass."""

    def __init__(self, rewrite):
        super().__init__()
        self.inner, self.out, self.rewrite = nn.Linear(3, 4), nn.Linear(4, 1), rewrite

    def forward(self, x):
        self.rewrite(self.inner.weight)
        return self.out(self.inner(x).tanh())


def moves(weight):
    weight.data = weight.data.clone()


def clips(weight):
    weight.data.clamp_(-2.0, 2.0)


def scales(weight):
    with torch.no_grad():
        weight /= weight.norm()


@pytest.mark.parametrize("rewrite", [moves, clips, scales])
def test_a_forward_pass_that_rewrites_a_weight_is_refused(rewrite):
    torch.manual_seed(0)

    with pytest.raises(SpecError, match=r"a forward pass rewrites inner.weight.* or hold it"):
        checked(nn.MSELoss(), model=Rewrites(rewrite).double())
