"""From a module to metrics; `tests/unit/api/test_estimate.py` has what a user sees of it."""

import time

import pytest
import torch
from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc import api
from parsl_optuna.tasks.llc.api import Phases, Settings, run
from parsl_optuna.tasks.llc.engine import warmup
from torch import nn

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Slow(nn.Linear):
    """Takes its time for every pass, one chain at a time."""

    def __init__(self):
        super().__init__(3, 1)

    def forward(self, x):
        time.sleep(0.02 * float(self.weight.abs().max() >= 0))
        return super().forward(x)


@pytest.mark.parametrize("polish", [False, True])
def test_a_budget_that_is_too_small_says_what_took_it_and_what_would_do(polish):
    """Eight chains one by one take 0.16 s and more per gradient: 1,000 of them three minutes."""
    deadline = Deadline(2.5)

    found = run(Slow(), nn.MSELoss(), (X, X[:, :1]), Settings(polish=polish), deadline)

    assert deadline.used_sec < 4.0
    assert found.metrics["status"] == "not_converged"
    assert "the budget ended before the first draw (" in found.metrics["status_reason"]
    assert "warm-up" in found.metrics["status_reason"]
    assert found.metrics["status_reason"].endswith("s would do")
    assert ("polish" in found.metrics["phases_sec"]) is polish
    assert float(found.metrics["status_reason"].split("about ")[1].split(" s")[0]) >= 100


def test_laplace_says_what_budget_would_do_for_it(monkeypatch):
    """A Hessian of 4 parameters and 256 draws take 264 gradients, each of one set of weights."""

    def over(*_, **__):
        raise Expired("over")

    monkeypatch.setattr(api, "estimate", over)

    found = run(Slow(), nn.MSELoss(), (X, X[:, :1]), Settings(kernel="laplace"), Deadline(60.0))

    assert found.metrics["status"] == "not_converged"
    assert float(found.metrics["status_reason"].split("about ")[1].split(" s")[0]) <= 20
    assert not found.metrics["notes"]


def test_populations_that_there_is_no_time_for_say_what_would_do():
    """Hundreds of particles one by one, at 0.02 s each."""
    found = run(Slow(), nn.MSELoss(), (X, X[:, :1]), Settings(kernel="smc"), Deadline(3.0))

    assert found.metrics["status"] == "not_converged"
    assert "the budget ended before the first draw (" in found.metrics["status_reason"]
    assert float(found.metrics["status_reason"].split("about ")[1].split(" s")[0]) >= 1000


def test_a_budget_that_is_over_before_any_phase_is_told_without_phases():
    found = run(nn.Linear(3, 1), nn.MSELoss(), (X, X[:, :1]), Settings(), Deadline(1e-3))

    assert "()" not in found.metrics["status_reason"]


def test_a_budget_that_ends_in_the_checks_of_the_second_precision_gives_a_status():
    """The clock stands still until the loss has been posed in float64, then jumps."""
    model, seen = nn.Linear(3, 1), []

    def loss(outputs, y):
        seen.append(outputs.dtype)
        return nn.functional.mse_loss(outputs, y)

    def now():
        return 10.0 * (torch.float32 in seen)

    found = run(model, loss, (X, X[:, :1]), Settings(precision="float32"), Deadline(2.0, now, 0.0))

    assert found.metrics["status"] == "not_converged"
    assert found.metrics["status_reason"].endswith("(checks 10 s); try 20 s")


def test_the_limit_is_a_little_later_than_the_budget():
    assert Phases(Deadline(1.0)).limit.budget_sec == 1.3
    assert Phases(Deadline(100.0)).limit.budget_sec == 105.0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"device": "tpu"}, "device 'tpu': .*cpu"),
        ({"device": "cuda"}, "device 'cuda': torch finds none"),
        ({"device": ["cpu", "cpu:1"]}, "device 'cpu:1': this machine has 1"),
        ({"device": ["cuda:0", "cuda:0"]}, "device 'cuda:0,cuda:0': one is named twice"),
        ({"device": "mps,mps:0"}, "device 'mps,mps:0': of several, each needs its number"),
        ({"precision": "float16"}, "precision 'float16': did you mean"),
        ({"kernel": "nut"}, "no kernel 'nut'; did you mean 'nuts'"),
        ({"memory_gb": 0.0}, "memory_gb 0.0 must be"),
        ({"memory_gb": 1e-7}, "memory_gb"),
        ({"memory_gb": 1e-5}, "256 chains of 4 parameters and the data take about"),
        ({"memory_gb": 1e-5, "kernel": "laplace"}, "kernel 'laplace', vectors of 4 parameters and the data"),
        ({"memory_gb": 1e-5, "kernel": "smc"}, "kernel 'smc', vectors of 4 parameters and the data"),
        ({"n_beta": float("inf")}, "n_beta inf must be"),
        ({"n_beta": "5"}, "n_beta '5' must be a number"),
        ({"gamma": True}, "gamma True must be a number"),
        ({"seed": "a"}, "seed 'a' must be a whole number"),
        ({"seed": 2**70}, "seed .* must be a whole number"),
        ({"polish": "yes"}, "polish 'yes' must be True or False"),
    ],
)
def test_what_cannot_be_is_refused(settings, said):
    if settings.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")

    with pytest.raises(SpecError, match=said):
        run(nn.Linear(3, 1), nn.MSELoss(), (X, X[:, :1]), Settings(**settings), Deadline(5.0))


def test_what_is_not_as_in_training_is_noted():
    model, loss = nn.Sequential(nn.Linear(3, 2), nn.Dropout(), nn.Linear(2, 1)), nn.MSELoss()
    loss.scale = nn.Parameter(torch.ones(()))

    notes = run(model, loss, (X, X[:, :1]), Settings(device=torch.device("cpu")), Deadline(0.3)).metrics[
        "notes"
    ]

    assert [note.partition(";")[0] for note in notes] == [
        "the model is in training mode",
        "parameters of the loss are held where they are",
    ]


class Wells(nn.Module):
    """Two wells per weight: at 1, and a higher one at -1, with a barrier of 20 between them."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(8, dtype=torch.float64))

    def forward(self, x):
        height = 20.0 * (self.w.square() - 1.0).square() + 0.2 * (1.0 - self.w).square()
        return height.mean() + 0.0 * x


@pytest.mark.slow
def test_parts_of_the_posterior_that_chains_do_not_move_between_are_told(monkeypatch):
    monkeypatch.setattr(warmup, "_ANNEALED", 8)  # so that it counts as large
    settings = Settings(gamma=0.3, relative_error=0.02)

    found = run(
        Wells(), lambda model, batch: model(batch).mean(), torch.zeros(300, 1), settings, Deadline(20.0)
    )

    assert found.metrics["status"] != "ok"
    (note,) = (note for note in found.metrics["notes"] if note.startswith("chains that began near w* have"))
    assert "a larger gamma than 0.3 keeps it at w*" in note
