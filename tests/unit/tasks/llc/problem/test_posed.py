import pytest
import torch
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.examples import read
from parsl_optuna.tasks.llc.problem.posed import Calling, in_precision, pose_loss, private_copy
from torch import nn
from torch.nn import functional

X = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
Y = X[:, :1]


class Named(nn.Module):
    """Takes its inputs by name."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 1)

    def forward(self, x, scale=None):
        return self.inner(x) if scale is None else self.inner(x) * scale


class OfMapping(Named):
    """Takes one mapping."""

    def forward(self, batch):
        return super().forward(batch["x"])


class Several(Named):
    """Returns more than outputs."""

    def forward(self, x):
        return super().forward(x), x


def calling(model, loss, data):
    return pose_loss(private_copy(model), loss, read(data), torch.float32).calling


@pytest.mark.parametrize(
    ("model", "loss", "data", "found"),
    [
        (nn.Linear(3, 1), nn.MSELoss(), (X, Y), Calling("outputs")),
        (
            nn.Linear(3, 1),
            lambda model, batch: functional.mse_loss(model(batch[0]), batch[1]),
            (X, Y),
            Calling("model"),
        ),
        (nn.Linear(3, 1), lambda a, b: functional.mse_loss(a(b[0]), b[1]), (X, Y), Calling("model")),
        (nn.Linear(3, 1), lambda m, b: m(b).square().mean(), X, Calling("model")),
        (Named(), nn.MSELoss(), ({"x": X, "scale": Y}, Y), Calling("outputs")),
        (Named(), nn.MSELoss(), ((X, Y), Y), Calling("outputs")),
        (OfMapping(), nn.MSELoss(), ({"x": X}, Y), Calling("outputs", spread=False)),
        (Named(), lambda model, batch: (model(**batch)).mean(), {"x": X, "scale": Y}, Calling("model")),
        (nn.Linear(3, 1), nn.MSELoss(), (X.int(), Y), Calling("outputs", floating=(0,))),
        (nn.Linear(3, 1), nn.BCEWithLogitsLoss(), (X, (Y > 0).int()), Calling("outputs", floating=(1,))),
        (nn.Linear(3, 1), nn.BCEWithLogitsLoss(), (X.int(), Y > 0), Calling("outputs", floating=(0, 1))),
        (
            nn.Embedding(5, 1),
            nn.MSELoss(),
            (torch.arange(5)[:, None], torch.zeros(5, 1, 1)),
            Calling("outputs"),
        ),
    ],
)
def test_the_way_to_call_a_loss_is_found(model, loss, data, found):
    assert calling(model, loss, data) == found


@pytest.mark.parametrize(
    ("model", "loss", "data", "said"),
    [
        (
            nn.Linear(4, 1),
            nn.MSELoss(),
            (X, Y),
            "model: called with the inputs of data, it raised RuntimeError",
        ),
        (
            Several(),
            nn.MSELoss(),
            (X, Y),
            r"loss: the model returns a tuple, of which it raised .*function of \(model, batch\)",
        ),
        (nn.Linear(3, 1), nn.MSELoss(), {"x": X, "y": Y}, "loss: the data are no pair"),
        (nn.Linear(3, 1), nn.MSELoss(), (X, Y, Y), "loss: the data are no pair"),
        (nn.Linear(3, 1), lambda model, batch: model(batch["y"]).mean(), (X, Y), "loss: called as loss"),
        (
            nn.Linear(3, 2),
            nn.CrossEntropyLoss(),
            (X, Y),
            r"loss: called as loss\(outputs, y\) with outputs of shape \(4, 2\)",
        ),
    ],
)
def test_what_fails_names_whose_fault_it_is(model, loss, data, said):
    with pytest.raises(SpecError, match=said) as caught:
        calling(model, loss, data)

    assert "\n" not in str(caught.value)


def test_a_copy_is_in_evaluation_mode_and_recurrent_layers_have_a_backward_pass():
    model = nn.ModuleDict({"rnn": nn.GRU(3, 4, num_layers=2, dropout=0.5), "drop": nn.Dropout()})

    copied = private_copy(model)

    assert not copied["drop"].training
    assert copied["rnn"].training
    assert copied["rnn"].dropout == 0.0
    assert model["rnn"].dropout == 0.5


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weight_norm_of_the_older_kind_can_be_copied_after_use():
    model = nn.utils.weight_norm(nn.Linear(3, 2))
    model(X)

    assert [name for name, _ in private_copy(model).named_parameters()] == ["bias", "weight_g", "weight_v"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wrappers_give_what_they_wrap():
    assert isinstance(private_copy(nn.DataParallel(nn.Linear(3, 1))), nn.Linear)
    assert isinstance(private_copy(torch.compile(nn.Linear(3, 1))), nn.Linear)


@pytest.mark.parametrize(
    ("loss", "y", "said"),
    [
        (nn.CrossEntropyLoss(), torch.tensor([0.0, 1.0] * 4), "if y are classes, give y.long()"),
        (nn.BCEWithLogitsLoss(), torch.ones(8), "; reshape y to the shape of the outputs"),
    ],
)
def test_targets_of_another_kind_are_told_with_the_cure(loss, y, said):
    model = nn.Linear(3, 2 if isinstance(loss, nn.CrossEntropyLoss) else 1)

    with pytest.raises(SpecError, match=said):
        pose_loss(private_copy(model), loss, read((torch.ones(8, 3), y)), torch.float32)


def test_a_mode_that_the_users_code_switches_is_put_back():
    class Switching(nn.Linear):
        def forward(self, x):
            torch.set_grad_enabled(True)
            return super().forward(x)

    data = read((torch.ones(8, 3), torch.ones(8, 1)))
    posed = pose_loss(private_copy(Switching(3, 1)), nn.MSELoss(), data, torch.float32)

    with torch.no_grad():
        posed(data.batch)
        assert not torch.is_grad_enabled()


class Keeping(Named):
    """Keeps what it computed in containers and in an object, as for a look at activations."""

    def __init__(self):
        super().__init__()
        self.kept, self.box = {"all": []}, Calling("outputs")

    def forward(self, x):
        outputs = super().forward(x)
        self.kept["all"].append((outputs,))
        object.__setattr__(self.box, "last", outputs)
        return outputs


def test_a_module_that_keeps_results_anywhere_is_copied():
    model = Keeping()
    model(X)

    copied = private_copy(model)

    assert torch.equal(copied.kept["all"][0][0], model.kept["all"][0][0])
    assert copied.box.last is copied.kept["all"][0][0]
    assert copied.box.last.grad_fn is None


class KeepingLoss(nn.MSELoss):
    def forward(self, outputs, y):
        self.last = super().forward(outputs, y)
        return self.last


def test_a_loss_that_keeps_its_last_value_is_copied():
    loss = KeepingLoss()
    loss(Named()(X), Y)

    copied = in_precision(loss, torch.device("cpu"), torch.float64)

    assert torch.equal(copied.last, loss.last.double())
