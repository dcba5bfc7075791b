import pytest
import torch
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.losses import MlpLoss
from parsl_optuna.tasks.llc.problem.module import ModuleLoss, pose
from torch import nn


@pytest.fixture
def data(generator):
    x = torch.randn(700, 3, generator=generator, dtype=torch.float64)
    return x, torch.randn(700, 2, generator=generator, dtype=torch.float64)


def network(*, bias=True, activation=nn.Tanh):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5, bias=bias), activation(), nn.Linear(5, 2, bias=bias)).double()


class Residual(nn.Module):
    """No plain chain of layers, with a buffer and dropout."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(3, 2)

    def forward(self, x):
        return self.out(self.drop(self.norm(x + torch.relu(self.inner(x)))))


def test_losses_and_gradients_are_those_of_the_module(data):
    model = Residual().double().eval()
    loss = ModuleLoss(model, nn.functional.mse_loss, *data)

    value, gradient = loss.value_and_grad(loss.flat().unsqueeze(0).repeat(3, 1))

    expected = nn.functional.mse_loss(model(data[0]), data[1])
    expected.backward()
    flat = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    assert torch.allclose(value, expected.detach().expand(3))
    assert torch.allclose(gradient, flat.expand(3, -1))
    assert torch.allclose(loss.value(loss.flat().unsqueeze(0)), expected.detach())


def test_minibatches_are_rows_of_the_data_per_chain(data, generator):
    loss = ModuleLoss(Residual().double(), nn.functional.mse_loss, *data)
    rows = torch.randint(700, (2, 9), generator=generator)
    w = loss.flat() + 0.1 * torch.randn(2, loss.dim, generator=generator, dtype=torch.float64)

    value, gradient = loss.value_and_grad(w, rows)

    for chain in range(2):
        part = ModuleLoss(Residual().double(), nn.functional.mse_loss, *(d[rows[chain]] for d in data))
        alone, alone_gradient = part.value_and_grad(w[chain : chain + 1])
        assert torch.allclose(value[chain], alone[0])
        assert torch.allclose(gradient[chain], alone_gradient[0])


def test_a_minibatch_for_all_chains_is_that_one_for_each(data, generator):
    """In two chunks of unequal size."""
    loss = ModuleLoss(Residual().double(), nn.functional.mse_loss, *data)
    rows = torch.randperm(700, generator=generator)[:600]
    w = loss.flat() + 0.1 * torch.randn(2, loss.dim, generator=generator, dtype=torch.float64)

    shared, single = loss.value_and_grad(w, rows), loss.value_and_grad(w, rows.expand(2, -1))

    assert torch.allclose(shared[0], single[0])
    assert torch.allclose(shared[1], single[1])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU])
def test_a_plain_mlp_takes_the_hand_written_way_to_the_same_numbers(data, bias, activation):
    model = network(bias=bias, activation=activation)

    fast = pose(model, nn.MSELoss(), *data, torch.float64)
    general = ModuleLoss(model, nn.MSELoss(), *data)

    assert isinstance(fast.loss, MlpLoss)
    value, gradient = fast.loss.value_and_grad(fast.weights.unsqueeze(0))
    expected, expected_gradient = general.value_and_grad(general.flat().unsqueeze(0))
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
        (Residual(), nn.MSELoss()),
    ],
)
def test_anything_else_takes_the_general_way(data, model, loss):
    assert isinstance(pose(model, loss, *data, torch.float64).loss, ModuleLoss)


def test_classification_with_integer_targets(generator):
    x, y = torch.randn(50, 3, generator=generator), torch.randint(2, (50,), generator=generator)
    model = network().float()

    posed = pose(model, nn.CrossEntropyLoss(), x, y, torch.float64)

    value = posed.loss.value(posed.weights.unsqueeze(0))
    assert float(value) == pytest.approx(float(nn.functional.cross_entropy(model(x), y).detach()), rel=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_a_loss_that_is_no_mean_is_refused(data, reduction):
    with pytest.raises(SpecError, match="mean"):
        pose(Residual(), nn.MSELoss(reduction=reduction), *data, torch.float64)


def test_data_of_unequal_length_and_empty_models_are_refused(data):
    with pytest.raises(SpecError, match="700 inputs but 9 targets"):
        pose(network(), nn.MSELoss(), data[0], data[1][:9], torch.float64)
    with pytest.raises(SpecError, match="no parameters"):
        pose(nn.Identity(), nn.MSELoss(), *data, torch.float64)


def test_the_users_model_is_left_alone(data):
    model = Residual().train()
    before = [value.clone() for value in model.state_dict().values()]

    pose(model, nn.MSELoss(), *data, torch.float64)

    assert model.training
    assert all(value.requires_grad for value in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))
