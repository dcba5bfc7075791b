import math
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import parsl_optuna
import pytest
import torch
from parsl_optuna.core.errors import SpecError
from torch import nn

from tests.scenarios import n_beta, quadratic


@pytest.fixture
def regression(generator):
    """A linear model at its least-squares fit; the LLC is exact."""
    x = torch.randn(400, 3, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]]).double() + 0.1 * torch.randn(400, 1, generator=generator)
    model = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(x, y).solution.T)
    return model, x, y, torch.linalg.eigvalsh(2 * x.T @ x / 400).tolist()


@pytest.mark.parametrize(
    ("kernel", "device"), [("hmc", ["cpu", "cpu"]), ("nuts", "cpu,cpu"), ("sgld", "cpu")]
)
def test_a_linear_model_has_its_exact_coefficient(regression, kernel, device):
    model, x, y, eigenvalues = regression

    found = parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y), kernel=kernel, device=device)

    truth = quadratic(eigenvalues, n_beta(400))
    assert abs(found.llc - truth) < 4 * found.se + (0.01 * truth if kernel == "sgld" else 0.0)
    assert found.status == "ok", found.reason
    assert found.excess.shape == found.controlled.shape == found.distance.shape
    assert float(found.controlled.mean()) == pytest.approx(found.llc)
    assert "ok" in str(found)
    assert found.device == ("cpu" if device == "cpu" else "cpu,cpu")
    assert ("on cpu,cpu" in str(found)) is (device != "cpu")
    assert found.draws["excess"].shape == found.excess.T.shape


def test_laplace_needs_no_chains_where_the_posterior_is_normal(regression, tmp_path):
    model, x, y, eigenvalues = regression

    found = parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y), kernel="laplace", relative_error=0.02)
    found.plot(tmp_path / "llc.png")

    assert abs(found.llc - quadratic(eigenvalues, n_beta(400))) < 4 * found.se
    assert found.status == "ok", found.reason
    assert found.metrics["diagnostics"]["normal_llc"] == pytest.approx(quadratic(eigenvalues, n_beta(400)))


def test_populations_show_their_draws_where_the_posterior_is_normal(regression, tmp_path):
    model, x, y, eigenvalues = regression

    found = parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y), kernel="smc", relative_error=0.02)
    found.plot(tmp_path / "llc.png")

    assert abs(found.llc - quadratic(eigenvalues, n_beta(400))) < 4 * found.se
    assert found.status == "ok", found.reason
    assert float(found.controlled.mean()) == pytest.approx(found.llc, rel=1e-3)
    assert found.draws["excess"].shape == found.excess.T.shape


def test_an_approximation_that_is_too_poor_says_that_nobody_knows_the_interval():
    x = torch.ones(1000, 1)
    model = nn.Sequential(
        nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    )
    for weight in model.parameters():
        nn.init.zeros_(weight)

    found = parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, 0 * x), gamma=0.01, kernel="laplace")

    assert found.status == "uncertain"
    assert "k-hat" in str(found)
    assert found.interval == (-math.inf, math.inf)
    assert " ± ? (uncertain" in str(found)


class Wells(nn.Module):
    """Two parameters: a narrow minimum of 0 at their start, and a wide one at (1.5, 0)."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        near = 80.0 * self.w.square().sum()
        far = 0.05 * (self.w[0] - 1.5).square() + 0.01 * self.w[1].square()
        return -torch.logaddexp(-500.0 * near, -500.0 * far).expand(len(x)) / 500.0


def test_laplace_is_not_sure_where_most_of_the_posterior_is_elsewhere():
    """All draws near w* agree with each other: 1.004 ± 0.016, with a k-hat as of a normal law."""
    x = torch.zeros(1000, 1)

    found = parsl_optuna.estimate_llc(Wells(), lambda outputs, y: outputs.mean(), (x, x), kernel="laplace")

    assert found.status == "uncertain"
    assert "k-hat" in str(found)


def test_a_poor_approximation_tells_nothing_of_gamma():
    """Nobody knows its interval, and the draws are not of the posterior."""
    stream = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(torch.randn(value.shape, generator=stream))
    x = torch.randn(200, 2, generator=stream)

    found = parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, model(x).detach()), kernel="laplace")

    assert found.status == "uncertain"
    assert found.metrics["diagnostics"]["prior_sensitivity"] > 0.1
    assert not any("gamma" in note for note in found.notes)


class Walled(nn.Module):
    """One parameter whose loss is infinite beyond 0.05, where most of the prior is."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.where(self.w.abs() < 0.05, self.w.square(), torch.inf).expand(len(x))


def test_chains_begin_where_the_loss_is_finite():
    x = torch.zeros(1000, 1)

    found = parsl_optuna.estimate_llc(
        Walled(), lambda outputs, y: outputs.mean(), (x, x), kernel="hmc", budget_sec=3.0
    )

    assert found.status != "ok"  # at a wall the identity that is checked does not hold
    assert found.metrics["diagnostics"]["lost_chains"] == 0
    assert found.excess.max() <= n_beta(1000) * 0.05**2


class Slow(nn.Module):
    """A linear model whose chains run one by one, each for 15 ms."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(10, 1, bias=False)
        self.register_buffer("calls", torch.zeros(()))
        nn.init.zeros_(self.inner.weight)

    def forward(self, x):
        self.calls += 1
        time.sleep(0.015)
        return self.inner(x)


def test_laplace_answers_with_the_draws_that_there_is_time_for():
    x = torch.randn(64, 10, generator=torch.Generator().manual_seed(1))

    found = parsl_optuna.estimate_llc(
        Slow(), nn.MSELoss(), (x, torch.zeros(64, 1)), kernel="laplace", budget_sec=4.0
    )

    assert found.llc == pytest.approx(5.0, rel=0.5)
    assert found.seconds < 6.0


@pytest.mark.parametrize("kernel", ["laplace", "smc"])
def test_kernels_without_chains_refuse_what_they_cannot_do(regression, kernel):
    model, x, y, _ = regression

    with pytest.raises(SpecError, match=f"observables: kernel '{kernel}' has no chains to record them along"):
        parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y), kernel=kernel, observables={"all": (x, y)})


def test_temperature_and_localiser_are_those_asked_for(regression):
    model, x, y, eigenvalues = regression

    found = parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y), n_beta=30.0, gamma=5.0)

    assert abs(found.llc - quadratic(eigenvalues, 30.0, gamma=5.0)) < 4 * found.se
    assert found.metrics["gamma"] == 5.0


def test_weights_that_are_no_minimum_are_said_and_polish_mends_them(regression):
    model, x, y, eigenvalues = regression
    with torch.no_grad():
        model.weight += 0.2

    wrong, mended = (
        parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y), relative_error=0.05, polish=polish)
        for polish in (False, True)
    )

    assert wrong.status == "not_minimum"
    assert wrong.llc < 0
    assert mended.status == "ok", mended.reason
    assert abs(mended.llc - quadratic(eigenvalues, n_beta(400))) < 4 * mended.se


def test_single_precision_agrees(regression):
    model, x, y, eigenvalues = regression

    found = parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y), precision="float32")

    assert abs(found.llc - quadratic(eigenvalues, n_beta(400))) < 4 * found.se


def test_numbers_of_numpy_will_do(regression):
    model, x, y, _ = regression
    numbers = {"seed": np.int64(3), "gamma": np.float32(1.0), "budget_sec": np.int32(600)}

    found = parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y), **numbers)

    assert found.llc == parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y), seed=3, budget_sec=600.0).llc


def test_a_loss_too_large_for_its_precision_is_said(regression):
    """Steps of 0.06 between the numbers next to 1e6 are LLCs of 4."""
    model, x, y, _ = regression

    found = parsl_optuna.estimate_llc(
        model, lambda outputs, y: (outputs - y).square().mean() + 1e6, (x, y), precision="float32"
    )

    assert found.se > abs(found.llc)
    assert found.status != "ok"
    assert any("take precision='float64'" in note for note in found.notes)


def test_an_interval_has_the_bias_in_it(regression):
    model, x, y, _ = regression
    found = parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y))

    off = replace(found, se=0.3, metrics={**found.metrics, "bias": 0.4})

    assert off.interval == pytest.approx((found.llc - 0.98, found.llc + 0.98))
    assert "± 0.3, bias about 0.4 (ok)" in str(off)


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_examples_for_a_temperature_are_refused(regression, n):
    model, x, y, _ = regression

    with pytest.raises(SpecError, match=f"means nothing for n = {n}"):
        parsl_optuna.estimate_llc(model, nn.MSELoss(), (x[:n], y[:n]))


def test_the_class_of_a_loss_is_refused(regression):
    model, x, y, _ = regression

    with pytest.raises(SpecError, match=r"is the class MSELoss; give an instance"):
        parsl_optuna.estimate_llc(model, nn.MSELoss, (x, y))


def test_what_requires_no_gradient_is_held(regression):
    """Half of the weights frozen: a quadratic in the others, with its exact coefficient."""
    _, x, y, _ = regression
    model = nn.ModuleDict({"free": nn.Linear(2, 1, bias=False), "held": nn.Linear(1, 1)}).double()
    solution = torch.linalg.lstsq(x, y).solution.T
    with torch.no_grad():
        model["free"].weight.copy_(solution[:, :2])
        model["held"].weight.copy_(solution[:, 2:])
        model["held"].bias.zero_()
    model["held"].requires_grad_(requires_grad=False)

    def loss(model, batch):
        x, y = batch
        return nn.functional.mse_loss(model["free"](x[:, :2]) + model["held"](x[:, 2:]), y)

    found = parsl_optuna.estimate_llc(model, loss, (x, y), relative_error=0.02)

    eigenvalues = torch.linalg.eigvalsh(2 * x[:, :2].T @ x[:, :2] / 400).tolist()
    assert found.parameters == 2
    assert found.metrics["parameters_held"] == 2
    assert found.status == "ok", found.reason
    assert abs(found.llc - quadratic(eigenvalues, n_beta(400))) < 4 * found.se
    assert "2 parameters" in str(found)


def test_a_mask_gives_the_restricted_coefficient(regression):
    model, x, y, _ = regression
    mask = torch.tensor([[True, False, True]])

    found = parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y), parameters={"weight": mask})

    part = x[:, [0, 2]]
    eigenvalues = torch.linalg.eigvalsh(2 * part.T @ part / 400).tolist()
    assert found.parameters == 2
    assert abs(found.llc - quadratic(eigenvalues, n_beta(400))) < 4 * found.se


def test_code_that_allows_float32_only_is_run_in_it_and_says_so(regression):
    model, x, y, eigenvalues = regression

    def loss(outputs, y):
        return torch.nn.functional.mse_loss(outputs @ torch.ones(1, 1), y)

    found = parsl_optuna.estimate_llc(model, loss, (x, y), relative_error=0.02)

    assert found.metrics["precision"] == "float32"
    assert "float64 fails" in found.notes[0]
    assert abs(found.llc - quadratic(eigenvalues, n_beta(400))) < 4 * found.se + 1e-3


def test_captured_numbers_that_allow_float64_only_name_the_precision(regression):
    model, x, y, _ = regression
    offset = torch.zeros(1, dtype=torch.float64)

    def loss(model, batch):
        return (
            nn.functional.mse_loss(model(batch[0]), batch[1])
            + (offset.unsqueeze(0) @ model.weight[:, :1]).sum()
        )

    with pytest.raises(SpecError, match="precision float32: fails, where float64 does not"):
        parsl_optuna.estimate_llc(model, loss, (x, y), precision="float32")


def test_what_fails_in_both_precisions_is_told_of_the_model_s_own(regression):
    model, x, y, _ = regression
    offset = torch.zeros(1, 1, dtype=torch.float64)

    def loss(model, batch):
        shift = offset @ model.weight[:, :1]
        raise RuntimeError(f"the cause, in {shift.dtype}")

    with pytest.raises(SpecError, match=r"the cause, in torch\.float64"):
        parsl_optuna.estimate_llc(model, loss, (x, y))


def test_the_same_seed_gives_the_same_number(regression):
    model, x, y, _ = regression

    first, second = (
        parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y), relative_error=0.05, seed=3) for _ in range(2)
    )

    assert first.llc == second.llc


@pytest.mark.parametrize("name", ["gamma", "relative_error", "budget_sec", "n_beta"])
def test_numbers_that_cannot_be_are_refused(regression, name):
    model, x, y, _ = regression

    for value in (0.0, -1.0, math.nan):
        with pytest.raises(SpecError, match=name):
            parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y), **{name: value})


def test_it_draws_itself(regression, tmp_path):
    model, x, y, _ = regression

    parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y), relative_error=0.05).plot(tmp_path / "llc.png")

    assert (tmp_path / "llc.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_package_imports_no_torch_before_it_is_needed():
    code = "import sys, parsl_optuna; assert 'torch' not in sys.modules; parsl_optuna.estimate_llc"

    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="estimat"):
        parsl_optuna.estimat  # noqa: B018


def test_data_that_a_pass_writes_into_stay_as_they_are():
    class Clips(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 1).double()

        def forward(self, x):
            return self.layer(x.clamp_(-0.5, 0.5))

    def loss(outputs, y):
        return (outputs - y.clamp_(-1.0, 1.0)).square().mean()

    x = torch.randn(100, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = 2.0 * x[:, :1]
    before = x.clone(), y.clone()

    found = parsl_optuna.estimate_llc(Clips(), loss, (x, y), polish=True, relative_error=0.1, budget_sec=10)

    assert found.status == "ok"
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
