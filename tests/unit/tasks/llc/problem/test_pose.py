import pytest
import torch
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.examples import read
from parsl_optuna.tasks.llc.problem.losses import MlpLoss
from parsl_optuna.tasks.llc.problem.module import ModuleLoss
from parsl_optuna.tasks.llc.problem.pose import RestrictedLoss, pose
from parsl_optuna.tasks.llc.problem.recorded import Source
from parsl_optuna.tasks.llc.problem.selection import select
from torch import nn


@pytest.fixture
def data(generator):
    x = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    return x, torch.randn(200, 2, generator=generator, dtype=torch.float64)


def posed(model, loss, data, dtype=torch.float64, parameters=None):
    return pose(model, loss, read(data), select(model, parameters), dtype)


def network(*, bias=True, activation=nn.Tanh):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5, bias=bias), activation(), nn.Linear(5, 2, bias=bias)).double()


def hooked():
    model = network()
    model[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


def tied():
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)).double()
    model[2].weight = model[0].weight
    return model


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU])
def test_a_plain_mlp_takes_the_hand_written_way_to_the_same_numbers(data, bias, activation):
    model = network(bias=bias, activation=activation)

    fast = posed(model, nn.MSELoss(), data)
    general = posed(model, lambda outputs, y: nn.functional.mse_loss(outputs, y), data)

    assert isinstance(fast.loss, MlpLoss)
    assert isinstance(general.loss, ModuleLoss)
    value, gradient = fast.loss.value_and_grad(fast.weights.unsqueeze(0))
    expected, expected_gradient = general.loss.value_and_grad(general.weights.unsqueeze(0))
    assert torch.allclose(value, expected)
    assert float(gradient.norm()) == pytest.approx(float(expected_gradient.norm()))


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (
            nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)),
            nn.MSELoss(),
        ),
        (nn.Sequential(nn.Linear(3, 4), nn.GELU(approximate="tanh"), nn.Linear(4, 2)), nn.MSELoss()),
        (nn.Sequential(nn.Linear(3, 2), nn.Tanh()), nn.MSELoss()),
        (network(), nn.L1Loss()),
        (hooked(), nn.MSELoss()),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))), nn.MSELoss()),
    ],
)
def test_anything_else_takes_the_general_way(data, model, loss):
    assert isinstance(posed(model, loss, data).loss, ModuleLoss)


def test_shared_layers_are_no_plain_mlp(data):
    found = posed(tied(), nn.MSELoss(), (data[0][:, :2], data[1]))

    assert isinstance(found.loss, ModuleLoss)
    assert found.loss.dim == 4 + 2 + 2


def test_a_mask_restricts_loss_and_gradient(data):
    model = network()
    mask = torch.zeros(5, 3, dtype=torch.bool)
    mask[2] = True

    part = posed(model, nn.MSELoss(), data, parameters={"0.weight": mask})
    whole = posed(model, nn.L1Loss(), data, parameters="0.weight")
    reference = posed(model, nn.MSELoss(), data, parameters="0.weight")

    assert isinstance(part.loss, RestrictedLoss)
    assert part.loss.dim == len(part.weights) == 3
    value, gradient = part.loss.value_and_grad(part.weights.unsqueeze(0) + 0.1)
    everything = reference.weights.clone()
    everything[6:9] += 0.1
    expected, slopes = reference.loss.value_and_grad(everything.unsqueeze(0))
    assert torch.allclose(value, expected)
    assert torch.allclose(gradient, slopes[:, 6:9])
    assert whole.loss.dim == 15


def test_classification_with_integer_targets(generator):
    x, y = torch.randn(50, 3, generator=generator), torch.randint(2, (50,), generator=generator)
    model = network().float()

    found = posed(model, nn.CrossEntropyLoss(), (x, y))

    value = found.loss.value(found.weights.unsqueeze(0))
    assert float(value) == pytest.approx(float(nn.functional.cross_entropy(model(x), y).detach()), rel=1e-5)


def test_integers_become_numbers_where_the_model_needs_them(generator):
    pixels = torch.randint(256, (50, 3), generator=generator, dtype=torch.uint8)
    labels = torch.randint(2, (50, 2), generator=generator)

    found = posed(network().float(), nn.BCEWithLogitsLoss(), (pixels, labels))

    assert found.notes == ("integers of x and y were converted to floating-point numbers",)


def test_class_weights_get_the_precision(generator):
    x, y = torch.randn(50, 3, generator=generator), torch.randint(2, (50,), generator=generator)
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([2.0, 2.0]))  # equal weights leave a mean

    assert posed(network().float(), weighted, (x, y)).loss.dim == 32


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_a_loss_that_is_no_mean_is_refused(data, reduction):
    with pytest.raises(SpecError, match="mean"):
        posed(network(), nn.MSELoss(reduction=reduction), data)


def test_the_users_model_is_left_alone(data):
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).train()
    before = [value.clone() for value in model.state_dict().values()]

    posed(model, nn.MSELoss(), data)

    assert model.training
    assert all(value.requires_grad for value in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"
)  # torch's own
def test_a_compiled_loss_and_compiled_layers_are_taken_as_written(data):
    """Compiling would take longer than sampling, and chains change the weights that it compiled."""
    plain, nested = nn.Sequential(network()), nn.Sequential(torch.compile(network()))

    first = posed(plain, nn.MSELoss(), data)
    second = posed(nested, torch.compile(nn.MSELoss()), data)

    w = torch.randn(2, second.loss.dim, dtype=torch.float64)
    assert torch.allclose(first.loss.value(w), second.loss.value(w))
    assert second.chains == "together"


def test_data_parallel_layers_are_taken(data):
    nested = nn.Sequential(nn.DataParallel(network()))

    found = posed(nested, nn.MSELoss(), data)

    w = torch.randn(2, found.loss.dim, dtype=torch.float64)
    expected = posed(nn.Sequential(network()), nn.MSELoss(), data).loss.value(w)
    assert torch.allclose(found.loss.value(w), expected)


class Force(nn.Module):
    """The derivative of an energy by its inputs."""

    def __init__(self):
        super().__init__()
        self.stiffness = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, x):
        x = x.detach().requires_grad_()
        energy = 0.5 * (self.stiffness * x.square()).sum()
        return -torch.autograd.grad(energy, x, create_graph=True)[0]


def test_a_model_may_take_derivatives_by_its_inputs(data):
    x, _ = data
    y = -2.0 * x

    found = posed(Force(), nn.MSELoss(), (x, y))

    w = torch.tensor([[1.0, 2.0, 4.0]]).double()
    squares = x.square().mean(0) / 3.0
    truth = (w - 2.0).square() @ squares
    value, gradient = found.loss.value_and_grad(w)
    assert torch.allclose(value, truth)
    assert torch.allclose(found.loss.value(w), truth)
    assert torch.allclose(gradient, 2.0 * (w - 2.0) * squares)


def test_so_may_a_loss_and_an_observable_that_is_data(data):
    x, _ = data

    def loss(model, batch):
        batch = batch.clone().requires_grad_()
        slope = torch.autograd.grad(model(batch).sum(), batch, create_graph=True)[0]
        return (slope - batch).square().mean()

    model = nn.Linear(3, 1, bias=False).double()
    found = pose(
        model,
        loss,
        read(x),
        select(model, None),
        torch.float64,
        observables={"each": Source(None, read(x[:2]))},
    )

    each = (model.weight.detach() - x).square().mean(1)
    w = found.weights.unsqueeze(0)
    assert torch.allclose(found.loss.value(w), each.mean())
    assert torch.allclose(found.recording.at(w)["each"].flatten(), each[:2])
