"""No tensor is made on a device that nobody chose.

Under another default device, here `meta`, everything that is made without saying where cannot be computed
with. That also holds for users who call `torch.set_default_device("cuda")`.
"""

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import SpecError
from parsl_optuna.kernels.device import device_named, precise
from parsl_optuna.tasks import varmix
from parsl_optuna.tasks.base import Work, prepare_task, run_task
from parsl_optuna.tasks.llc.api import Settings, run
from parsl_optuna.tasks.llc.problem.spec import bind, resolve
from parsl_optuna.tasks.llc.problem.spread import SpreadLoss
from parsl_optuna.tasks.llc.problem.target import load, prepare
from torch import nn

from tests.scenarios import Bench

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(300, 3, generator=GENERATOR)
Y = torch.randint(2, (300,), generator=GENERATOR)

MODELS = {
    "fused": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), nn.MSELoss(), X[:, :1]),
    "together": (lambda: nn.Sequential(nn.Linear(3, 4), nn.ELU(), nn.Linear(4, 2)), nn.CrossEntropyLoss(), Y),
    "one by one": (lambda: Recurrent(), nn.CrossEntropyLoss(), Y),
}


class Recurrent(nn.Module):
    """A GRU, whose chains cannot go together."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(1, 2, batch_first=True), nn.Linear(2, 2)

    def forward(self, x):
        return self.head(self.rnn(x.unsqueeze(2))[0][:, -1])


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        *((name, "langevin") for name in MODELS),
        *(("fused", kernel) for kernel in ("hmc", "nuts", "laplace", "smc")),
        ("together", "sgld"),
    ],
)
def test_an_estimate_names_the_device_of_all_that_it_makes(name, kernel):
    make, loss, y = MODELS[name]
    model = make()
    observables = {"losses": (X[:5], y[:5]), "bias": lambda model: list(model.parameters())[-1]}
    mask = {parameter: torch.ones_like(value).bool() for parameter, value in model.named_parameters()}
    if kernel in ("laplace", "smc"):  # which have none
        observables = None
    settings = Settings(kernel=kernel, relative_error=0.3, observables=observables, parameters=mask)

    with torch.device("meta"):
        found = run(model, loss, (X, y), settings, Deadline(4.0))

    assert found.metrics["diagnostics"]["n_draws"] or "first draw" in found.metrics["status_reason"]


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    """Prepared problems by model."""
    folder, found = tmp_path_factory.mktemp("problems"), {}
    for model in ("small", "dln", "quadratic", "monomial"):
        overrides = {"data": {"n_data": 200}}
        if model == "small":
            overrides["training"] = {"steps": 50}
        found[model] = Bench({"model": model, "overrides": overrides}, folder / model)
    return found


@pytest.mark.parametrize(
    ("model", "method"),
    [
        *(("small", method) for method in ("auto", "hmc", "sgld", "mclmc", "vi")),
        *((model, "auto") for model in ("dln", "quadratic", "monomial")),
    ],
)
def test_a_trial_names_the_device_of_all_that_it_makes(benches, model, method):
    short = {"hmc": {"draws": 50, "max_draws": 50}, "auto": {"relative_error": 0.5}}
    params = short.get(method, {"steps": 100})

    with torch.device("meta"):
        found = benches[model].run(method, budget_sec=60.0, **params)

    assert found["diagnostics"]["n_draws"]


def test_a_problem_without_a_device_has_the_id_that_it_always_had():
    assert "device" not in resolve({"model": "small"}, "t")
    assert resolve({"model": "small", "device": "cpu"}, "t")["device"] == "cpu"
    assert bind(resolve({"model": "small", "device": "cuda:1"}, "t")).device == "cuda:1"
    assert resolve({"model": "small", "device": ["cuda:0", "cuda:1"]}, "t")["device"] == "cuda:0,cuda:1"


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("gpu", r"t: device 'gpu'.*cpu"),
        ("cuda:", "t: device 'cuda:'"),
        ("mps", "posterior.precision float64: device mps has none; set it to float32"),
        ("cuda:0,tpu", "t: device 'tpu': .*cpu"),
        ("cuda:0,cpu", "t: device 'cuda:0,cpu': several devices must be of one kind"),
        (["cuda:1", "cuda:1"], "t: device 'cuda:1,cuda:1': one is named twice"),
        (["cuda", "cuda:1"], "t: device 'cuda,cuda:1': of several, each needs its number, such as cuda:0"),
        ([], "t: device '': "),
        (7, "t: device '7': "),
    ],
)
def test_a_device_that_cannot_be_is_refused_in_the_plan(device, said):
    with pytest.raises(SpecError, match=said):
        resolve({"model": "small", "device": device}, "t")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_ends_the_problem_before_its_target_is_made(tmp_path):
    problem = resolve({"model": "small", "device": "cuda"}, "t")

    with pytest.raises(SpecError, match="device 'cuda': torch finds none on this machine; take cpu"):
        prepare(problem, tmp_path)

    assert not list(tmp_path.iterdir())


def test_of_one_device_there_is_no_second():
    with pytest.raises(SpecError, match="device 'cpu:1': this machine has 1, counted from 0"):
        device_named("cpu:1")


@pytest.mark.parametrize("model", ["small", "dln"])
def test_a_target_lies_on_the_devices_of_its_problem(model, tmp_path):
    overrides = {"training": {"steps": 10}} if model == "small" else {}
    problem = {"model": model, "device": "cpu", "overrides": overrides}
    prepare(resolve(problem, "t"), tmp_path)

    target = load(resolve(problem, "t"), tmp_path)
    spread = load(resolve(problem | {"device": ["cpu", "cpu"]}, "t"), tmp_path)

    assert target.centre.device.type == target.diagonal.device.type == "cpu"
    w = target.centre + torch.randn(5, len(target.centre), dtype=torch.float64)
    assert isinstance(spread.loss, SpreadLoss)
    for one, two in zip(target.loss.value_and_grad(w), spread.loss.value_and_grad(w), strict=True):
        assert torch.allclose(one, two, rtol=1e-12)


@pytest.mark.parametrize("settings", [{"mode": "analytical"}, {"interaction": "hierarchical"}])
def test_a_mixture_names_the_device_of_all_that_it_makes(settings, tmp_path):
    problem = varmix.TASK.resolve({"n_images": 200, "device": "cpu"}, "t")
    prepare_task(varmix.TASK, problem, tmp_path)
    short = {"n_latent": 4, "n_clusters": 3, "n_steps": 40, "prior_samples": 16}
    params = varmix.TASK.complete(problem, "varmix", short | settings, "t")
    work = Work(problem, "varmix", params, 1, Deadline(100), tmp_path)

    with torch.device("meta"):
        elsewhere = run_task(varmix.TASK, work)

    assert elsewhere == run_task(varmix.TASK, work)


def test_a_mixture_without_a_device_has_the_id_that_it_always_had():
    assert "device" not in varmix.TASK.resolve({}, "t")
    assert varmix.TASK.resolve({"device": "cpu"}, "t")["device"] == "cpu"
    with pytest.raises(SpecError, match="device"):
        varmix.TASK.resolve({"device": "gpu"}, "t")


def test_what_needs_float64_gets_it():
    assert precise(torch.ones(2)).dtype == torch.float64
