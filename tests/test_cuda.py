"""What is the same on a GPU: estimates, trials, resumed runs. Needs one; nothing here runs without."""

import copy
import functools
import gc
import math

import parsl_optuna
import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import Preempted, SpecError
from parsl_optuna.kernels.device import full_precision
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks import varmix
from parsl_optuna.tasks.base import Work, prepare_task, run_task
from parsl_optuna.tasks.llc import TASK
from parsl_optuna.tasks.llc.problem.examples import read
from parsl_optuna.tasks.llc.problem.pose import pose
from parsl_optuna.tasks.llc.problem.selection import select
from parsl_optuna.tasks.llc.problem.spread import SpreadLoss
from torch import nn

from tests.scenarios import Bench, EveryNth

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(200, 16, generator=GENERATOR)
CLASSES = (X @ torch.randn(16, 3, generator=GENERATOR)).argmax(1)
TOKENS = torch.randint(11, (200, 4), generator=GENERATOR)
ENTROPY = nn.CrossEntropyLoss()

RUNS = {
    "hmc": {"draws": 60, "warmup": 40, "max_draws": 90},
    "sgld": {"steps": 200, "eval_every": 7, "precond_type": "adam"},
    "mclmc": {"steps": 150, "warmup": 40},
    "vi": {"steps": 60, "eval_samples": 50, "M": 2},
    "auto": {"kernel": "langevin", "relative_error": 0.1, "chains": 16},
}


class Recurrent(nn.Module):
    """A GRU, whose chains cannot go together."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(4, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x):
        return self.head(self.rnn(x.unflatten(1, (4, 4)))[0][:, -1])


class Attention(nn.Module):
    """A transformer block."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 8), nn.Linear(8, 3)
        self.block = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)

    def forward(self, x):
        return self.head(self.block(self.embedding(x)).mean(1))


def convolutions():
    return nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)
    )


MODELS = {
    "fused": (lambda: nn.Sequential(nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 1)), nn.MSELoss(), X, X[:, :1]),
    "module": (
        lambda: nn.Sequential(nn.Linear(16, 4), nn.ELU(), nn.Linear(4, 3)),
        ENTROPY,
        X,
        CLASSES,
    ),
    "convolutions": (convolutions, ENTROPY, X, CLASSES),
    "attention": (Attention, ENTROPY, TOKENS, TOKENS[:, 0] % 3),
    "recurrent": (Recurrent, ENTROPY, X, CLASSES),
}


@functools.cache
def trained(name):
    make, loss, x, y = MODELS[name]
    torch.manual_seed(1)
    model = make()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(300):
        optimiser.zero_grad()
        loss(model(x), y).backward()
        optimiser.step()
    return model


def posed(name):
    _, loss, x, y = MODELS[name]
    return copy.deepcopy(trained(name)), loss, (x, y)


def estimate(name, device, **settings):
    given = {"gamma": 10.0, "relative_error": 0.05, "budget_sec": 12.0, "device": device} | settings
    return parsl_optuna.estimate_llc(*posed(name), **given)


def sigmas(first, second):
    spread = math.hypot(first.se, second.se, min(first.bias, 1.0), min(second.bias, 1.0))
    return abs(first.llc - second.llc) / spread


@pytest.mark.parametrize(
    ("name", "kernel", "precision"),
    [
        *((name, "langevin", "float64") for name in ("fused", "module", "convolutions")),
        *((name, "langevin", "float32") for name in ("convolutions", "attention", "recurrent")),
        *(("fused", kernel, "float64") for kernel in ("hmc", "nuts", "sgld", "laplace")),
        *(("module", kernel, "float32") for kernel in ("hmc", "nuts", "sgld", "laplace")),
    ],
)
def test_an_estimate_is_that_of_the_cpu(name, kernel, precision):
    there, here = (estimate(name, device, kernel=kernel, precision=precision) for device in (DEVICE, "cpu"))

    assert there.metrics["device"] == DEVICE
    assert there.metrics["precision"] == precision
    assert there.metrics["L0"] == pytest.approx(here.metrics["L0"], rel=1e-9)
    if name != "attention":  # whose chains take longer to arrive than a test may
        assert sigmas(there, here) < 5.0, (there, here)
    assert there.excess.size


def test_the_same_seed_gives_the_same_draws():
    first, second = (estimate("fused", DEVICE, relative_error=0.1, budget_sec=60.0) for _ in range(2))

    assert not first.metrics["truncated"]
    assert (first.excess == second.excess).all()


def test_observables_are_those_of_the_cpu():
    observables = {
        "losses": (X[:5], CLASSES[:5]),
        "bias": lambda model: list(model.parameters())[-1],
        "outputs": (lambda model, x: model(x), X[:2]),
    }
    there, here = (estimate("module", device, observables=observables) for device in (DEVICE, "cpu"))

    for name, found in there.observables.items():
        assert found.centre == pytest.approx(here.observables[name].centre, rel=1e-6, abs=1e-9)
        assert found.values.shape[:2] == there.excess.shape
    assert there.susceptibility("losses").value.shape == (5,)


def test_a_model_there_is_estimated_there_and_stays_as_it_is():
    model, loss, data = posed("module")
    before = [value.clone() for value in model.to(DEVICE).parameters()]
    mask = {name: torch.ones_like(value).bool() for name, value in model.named_parameters()}

    found = parsl_optuna.estimate_llc(
        model, loss, data, gamma=10.0, relative_error=0.1, budget_sec=12.0, parameters=mask, polish=True
    )

    assert found.metrics["device"].startswith(DEVICE)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    assert {value.device.type for value in model.parameters()} == {DEVICE}


@pytest.mark.parametrize("name", MODELS)
def test_chains_that_threads_compute_are_those_of_one(name):
    """Each of several GPUs has a thread; here both have the same one, also on a stream of their own."""
    model, loss, data = posed(name)
    there, options = torch.device("cuda:0"), (select(model), torch.float64)
    one, two = (
        pose(model, loss, read(data), *options, device=there, others=others).loss for others in ([], [there])
    )
    w = torch.randn(9, one.dim, dtype=torch.float64).to(there)
    rows = torch.randint(len(X), (9, 20)).to(there)

    assert isinstance(two, SpreadLoss)
    for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            for chosen in (None, rows, rows[0]):
                apart, together = (one_of.value_and_grad(w, chosen) for one_of in (two, one))
                for first, second in zip(apart, together, strict=True):
                    assert torch.allclose(first, second, rtol=1e-9, atol=1e-12)
            assert torch.allclose(two.value(w), one.value(w), rtol=1e-9)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
@pytest.mark.parametrize("name", MODELS)
def test_an_estimate_on_two_gpus_is_that_of_one(name):
    one, two = (estimate(name, device, relative_error=0.1) for device in ("cuda:0", ["cuda:0", "cuda:1"]))

    assert two.device == "cuda:0,cuda:1"
    assert sigmas(one, two) < 5.0, (one, two)


def test_of_one_gpu_there_is_no_second():
    count = torch.cuda.device_count()
    with pytest.raises(SpecError, match=f"device 'cuda:{count}': this machine has {count}"):
        estimate("fused", ["cuda:0", f"cuda:{count}"])


def test_data_there_serve_a_model_on_the_cpu():
    model, loss, (x, y) = posed("module")

    found = parsl_optuna.estimate_llc(
        model, loss, (x.to(DEVICE), y.to(DEVICE)), gamma=10.0, relative_error=0.1, budget_sec=12.0
    )

    assert found.metrics["device"] == "cpu"
    assert found.excess.size


def test_checkpoints_of_a_training_there_are_estimated(tmp_path):
    model, loss, data = posed("module")
    model = model.to(DEVICE)
    torch.save(model.state_dict(), tmp_path / "step1.pt")
    with torch.no_grad():
        model[0].weight.mul_(1.5)
    torch.save(model.state_dict(), tmp_path / "step2.pt")

    found = parsl_optuna.estimate_over(
        tmp_path, model, loss, data, gamma=10.0, relative_error=0.1, budget_sec=12.0
    )

    assert not found.refused
    assert [one.metrics["device"] for one in found.estimates] == ["cuda:0"] * 2
    assert found.estimates[0].metrics["L0"] != found.estimates[1].metrics["L0"]


def test_an_estimate_leaves_no_memory_behind():
    def left():
        estimate("module", DEVICE, relative_error=0.1)
        gc.collect()
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()

    left()  # workspaces of libraries, which stay

    assert left() == pytest.approx(left(), abs=2**16)


def test_float32_is_no_tf32_whatever_the_process_is_set_to():
    layer = nn.Conv2d(32, 32, 3).to(DEVICE)
    x = torch.randn(8, 32, 16, 16, device=DEVICE)
    with torch.no_grad():
        exact = copy.deepcopy(layer).double()(x.double())
    tall = torch.randn(256, 256, device=DEVICE)
    torch.set_float32_matmul_precision("high")
    try:
        with full_precision(), torch.no_grad():
            found, product = layer(x), tall @ tall
    finally:
        torch.set_float32_matmul_precision("highest")

    assert float((found - exact).norm() / exact.norm()) < 1e-5
    square = tall.double() @ tall.double()
    assert float((product - square).norm() / square.norm()) < 1e-5


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    """The same problem on both devices."""
    folder = tmp_path_factory.mktemp("small")
    return {
        device: Bench({"model": "small", "data": "small", "device": device}, folder / device)
        for device in (DEVICE, "cpu")
    }


def trial(bench, method, checkpoint):
    params = TASK.complete({}, method, RUNS[method], "test")
    work = Work(bench.problem, method, params, 5, Deadline(60.0), bench.folder, checkpoint)
    metrics = run_task(TASK, work)
    for name in ("warmup_sec", "drawing_sec"):  # of the last attempt
        metrics["diagnostics"].pop(name, None)
    return metrics


@pytest.mark.parametrize("method", RUNS)
def test_a_trial_is_that_of_the_cpu_also_when_interrupted(benches, tmp_path, method):
    there, here = (trial(benches[device], method, Checkpoint()) for device in (DEVICE, "cpu"))
    attempts, found = 0, None
    while found is None and attempts < 300:
        attempts += 1
        try:
            found = trial(benches[DEVICE], method, EveryNth(tmp_path, 23))
        except Preempted:
            continue

    spread = math.hypot(there["se_hat"], here["se_hat"])
    assert abs(there["llc_hat"] - here["llc_hat"]) < 5.0 * spread
    assert attempts > 1
    assert found is not None
    assert found["llc_hat"] == pytest.approx(there["llc_hat"], rel=1e-9)


def test_a_mixture_trains_there(tmp_path):
    problem = varmix.TASK.resolve({"n_images": 200, "device": DEVICE}, "t")
    prepare_task(varmix.TASK, problem, tmp_path)
    short = {"n_latent": 4, "n_clusters": 3, "n_steps": 40, "prior_samples": 16}
    params = varmix.TASK.complete(problem, "varmix", short, "t")

    found = run_task(varmix.TASK, Work(problem, "varmix", params, 1, Deadline(60), tmp_path))

    assert found["steps_run"] == 40
    assert math.isfinite(found["elbo"])
