"""Models and data as people have them, through the one public call: each is estimated right or refused.

What is accepted is held against the user's own code: the loss at the weights, its gradient, what is noted.
"""

import copy
from types import MethodType

import numpy as np
import pytest
import torch
from parsl_optuna import estimate_llc
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.examples import read
from parsl_optuna.tasks.llc.problem.pose import pose
from parsl_optuna.tasks.llc.problem.selection import select
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from tests.e2e.foreign_models import (
    Attention,
    Causal,
    Counter,
    Encoder,
    LowRank,
    Moving,
    Recurrent,
    Shared,
    Smooth,
    Straight,
    WithHidden,
)

torch.manual_seed(3)  # the weights of the models below
N = 60
STREAM = torch.Generator().manual_seed(3)
X = torch.randn(N, 6, generator=STREAM)
Y = X[:, :1] + 0.1 * torch.randn(N, 1, generator=STREAM)
LABELS = (X[:, 0] > 0).long()
TOKENS = torch.randint(1, 11, (N, 5), generator=STREAM)
MASK = (torch.rand(N, 5, generator=STREAM) > 0.3).long().index_fill(1, torch.tensor([0]), 1)
BATCH = {"input_ids": TOKENS, "attention_mask": MASK, "labels": LABELS, "return_dict": True}
TARGETS = torch.where(MASK.bool(), TOKENS, -100)


def of_batch(model, batch):
    return model(**batch)["loss"]


def per_token(outputs, y):
    return functional.cross_entropy(outputs.transpose(1, 2), y, reduction="none").sum(1).div(5).mean()


class Bag(nn.Module):
    """Embeddings whose gradient is sparse."""

    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(11, 4, sparse=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.embedding(x).mean(1))


def tripled():
    """A plain network, of which one layer was given another forward pass."""
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))
    model[2].forward = MethodType(
        lambda self, x: 3.0 * functional.linear(x, self.weight, self.bias), model[2]
    )
    return model


TAKEN = {
    "mapping": (Encoder(), of_batch, BATCH),
    "mapping as inputs": (
        Encoder(),
        lambda outputs, y: functional.cross_entropy(outputs["logits"], y),
        ({"input_ids": TOKENS, "attention_mask": MASK}, LABELS),
    ),
    "causal transformer, masked per example": (Causal(), per_token, (TOKENS, TARGETS)),
    "tuple of outputs": (WithHidden(), lambda outputs, y: functional.mse_loss(outputs[0], y), (X, Y)),
    "buffer that counts": (Counter(), nn.MSELoss(), (X, Y)),
    "shared weights": (Shared(), nn.MSELoss(), (X, Y)),
    "half precision": (nn.Linear(6, 1).half(), nn.MSELoss(), (X.half(), Y.half())),
    "bfloat16 model": (nn.Linear(6, 1).bfloat16(), nn.MSELoss(), (X, Y)),
    "double data": (nn.Linear(6, 1), nn.MSELoss(), (X.double(), Y.double())),
    "custom function": (Smooth(), nn.MSELoss(), (X, Y)),
    "adapters": (LowRank(), nn.MSELoss(), (X, Y)),
    "weight norm": (nn.utils.parametrizations.weight_norm(nn.Linear(6, 1)), nn.MSELoss(), (X, Y)),
    "gru": (Recurrent(nn.GRU), nn.MSELoss(), (X, Y)),
    "lstm": (Recurrent(nn.LSTM), nn.MSELoss(), (X, Y)),
    "rnn": (Recurrent(nn.RNN), nn.MSELoss(), (X, Y)),
    "attention": (Attention(), nn.CrossEntropyLoss(), (TOKENS, LABELS)),
    "batch normalization": (
        nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1)),
        nn.MSELoss(),
        (X, Y),
    ),
    "convolution": (
        nn.Sequential(
            nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 1)
        ),
        nn.MSELoss(),
        (X, Y),
    ),
    "sparse embedding": (Bag(), nn.CrossEntropyLoss(), (TOKENS, LABELS)),
    "a forward of its own": (tripled(), nn.MSELoss(), (X, Y)),
    "no targets": (nn.Linear(6, 6), lambda model, x: functional.mse_loss(model(x), x), X),
    "numpy": (nn.Linear(6, 2), nn.CrossEntropyLoss(), (X.numpy(), LABELS.numpy().astype(np.int32))),
}


@pytest.mark.parametrize(("model", "loss", "data"), TAKEN.values(), ids=TAKEN)
def test_loss_and_gradient_are_those_of_the_users_code(model, loss, data):
    examples = read(data)
    found = pose(model, loss, examples, select(model), torch.float64)
    reference = copy.deepcopy(model).double().eval()
    batch = examples.to(torch.device("cpu"), torch.float64).batch

    value, gradient = found.loss.value_and_grad(found.weights.unsqueeze(0))

    if not isinstance(batch, (tuple, list)):
        expected = loss(reference, batch)
    else:
        x, y = batch
        expected = loss(reference(**x) if isinstance(x, dict) else reference(x), y)
    live = [value for value in reference.parameters() if value.requires_grad]
    slopes = torch.autograd.grad(expected, live)
    assert float(value) == pytest.approx(float(expected.detach()), rel=1e-9)
    assert torch.allclose(gradient[0], torch.cat([slope.to_dense().flatten() for slope in slopes]), atol=1e-9)


class Endless(IterableDataset):
    """Never ends."""

    def __iter__(self):
        while True:
            yield X[0], Y[0]


def penalised(model):
    return lambda outputs, y: functional.mse_loss(outputs, y) + model.weight.square().sum()


LINEAR = nn.Linear(6, 1)
REFUSED = {
    "masked by ignore_index": (
        Causal(),
        lambda outputs, y: functional.cross_entropy(outputs.flatten(0, 1), y.flatten()),
        (TOKENS, TARGETS),
        "number of unmasked entries",
    ),
    "statistics of the batch": (Moving(), nn.MSELoss(), (X, Y), "must not be random|mean over examples"),
    "tuple of outputs": (WithHidden(), nn.MSELoss(), (X, Y), "returns a tuple"),
    "straight-through": (Straight(), nn.MSELoss(), (X, Y), "not its slope"),
    "empty loader": (LINEAR, nn.MSELoss(), DataLoader(TensorDataset(X[:0], Y[:0])), "no examples"),
    "endless": (LINEAR, nn.MSELoss(), Endless(), "ever end"),
    "a class": (nn.Linear, nn.MSELoss(), (X, Y), "is the class Linear; give a trained module"),
    "modules": ({"a": nn.Linear(2, 2)}, nn.MSELoss(), (X, Y), "make them one, by nn.ModuleDict"),
    "a function": (len, nn.MSELoss(), (X, Y), "must be a torch.nn.Module, got a builtin"),
    "weights alone": (LINEAR.state_dict(), nn.MSELoss(), (X, Y), r"load_state_dict\(\)"),
    "on meta": (nn.Linear(6, 1, device="meta"), nn.MSELoss(), (X, Y), "device meta"),
    "the name of a loss": (LINEAR, "mse", (X, Y), "loss: must be a function or module, got a str"),
    "sum": (LINEAR, nn.MSELoss(reduction="sum"), (X, Y), "reduction='mean'"),
    "broadcast": (LINEAR, nn.MSELoss(), (X, Y[:, 0]), "broadcast"),
    "contrastive": (
        LINEAR,
        lambda model, x: functional.cross_entropy(model(x) @ model(x).T, torch.arange(len(x))),
        X,
        "mean over examples",
    ),
    "own model": (LINEAR, penalised(LINEAR), (X, Y), "outside of its arguments"),
    "frozen": (
        nn.Linear(6, 1).requires_grad_(requires_grad=False),
        nn.MSELoss(),
        (X, Y),
        "requires a gradient",
    ),
    "NaN": (LINEAR, nn.MSELoss(), (torch.full_like(X, torch.nan), Y), "NaN"),
    "class weights": (
        nn.Linear(6, 2),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0])),
        (X, LABELS),
        "class weights",
    ),
}


@pytest.mark.parametrize(("model", "loss", "data", "said"), REFUSED.values(), ids=REFUSED)
def test_what_would_be_silently_wrong_is_refused_in_one_line(model, loss, data, said):
    with pytest.raises(SpecError, match=said) as caught:
        estimate_llc(model, loss, data, budget_sec=10.0)

    assert "\n" not in str(caught.value)


def test_a_recurrent_network_is_sampled_one_chain_at_a_time():
    found = estimate_llc(Recurrent(nn.GRU), nn.MSELoss(), (X[:20], Y[:20]), budget_sec=2.0)

    assert found.chains.startswith("one by one (")
    assert found.parameters == sum(value.numel() for value in Recurrent(nn.GRU).parameters())
    assert found.status != "ok"
    assert found.seconds < 2.0 + 2.0


def test_a_loader_is_one_pass_of_its_rows():
    loader = DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True, drop_last=True)

    found = estimate_llc(nn.Linear(6, 1), nn.MSELoss(), loader, budget_sec=2.0, relative_error=0.2)

    assert found.metrics["n"] == 48
    assert "drop_last=True leaves 12 of 60 examples out" in str(found)
