import parsl_optuna
import pytest
import torch
from parsl_optuna.core.errors import SpecError
from torch import nn

from tests.scenarios import n_beta, quadratic


@pytest.fixture
def regression(generator):
    x = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([[3.0], [-4.0]]).double() + 0.1 * torch.randn(200, 1, generator=generator)
    model = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(x, y).solution.T)
    return model, x, y, torch.linalg.eigvalsh(2 * x.T @ x / 200).tolist()


def test_every_gamma_has_its_exact_coefficient_and_share_of_the_prior(regression, tmp_path):
    model, x, y, eigenvalues = regression

    sweep = parsl_optuna.gamma_sweep(model, nn.MSELoss(), (x, y), [100.0, 1.0], relative_error=0.02)

    t, table = n_beta(200), sweep.table
    assert sweep.gammas == (1.0, 100.0)
    for gamma, found, filled in zip(sweep.gammas, sweep.estimates, table["filled"], strict=True):
        assert abs(found.llc - quadratic(eigenvalues, t, gamma=gamma)) < 4 * found.se
        share = sum(gamma / (t * h + gamma) for h in eigenvalues) / 2
        assert filled == pytest.approx(share**0.5, rel=0.1)
    assert table["width"].tolist() == [1.0, 0.1]
    assert "gamma" in str(sweep)
    sweep.plot(tmp_path / "gamma.png")
    assert (tmp_path / "gamma.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_answer_says_when_it_depends_on_gamma(regression):
    """Of an LLC of 1/2 where gamma is t h, 1/3 is left at twice that; by the slope, 1/2^1.5."""
    model, x, y, eigenvalues = regression

    free, held = (
        parsl_optuna.estimate_llc(model, nn.MSELoss(), (x, y), gamma=gamma, relative_error=0.02)
        for gamma in (0.01, n_beta(200) * sum(eigenvalues) / 2)
    )

    assert not any("gamma" in note for note in free.notes)
    assert any("twice as much would lower the LLC by 0.1" in note for note in held.notes)


def test_an_approximation_that_is_not_near_says_nothing_of_the_prior(tmp_path):
    class Kink(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return (torch.relu(self.w) + 0.5 * torch.relu(-self.w).square()).expand(len(x))

    x = torch.zeros(1000, 1)

    sweep = parsl_optuna.gamma_sweep(
        Kink(), lambda outputs, y: outputs.mean(), (x, x), [0.1, 1.0], kernel="laplace"
    )

    assert sweep.table["status"].tolist() == ["uncertain"] * 2
    assert sweep.table[["filled", "slope"]].isna().all(axis=None)
    sweep.plot(tmp_path / "gamma.png")


def test_gammas_are_chosen_by_the_size_of_the_weights(regression, monkeypatch):
    """Weights of 3 and -4 have a root mean square of 3.5, a precision of 0.08."""
    model, x, y, _ = regression

    sweep = parsl_optuna.gamma_sweep(model, nn.MSELoss(), (x, y), relative_error=0.2, budget_sec=5)

    assert sweep.gammas == (0.0008, 0.008, 0.08, 0.8, 8.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"gamma": 1.0}, "give gammas"),
        ({"gammas": []}, "an empty list"),
        ({"gammas": [-1.0]}, "gamma -1.0 must"),
    ],
)
def test_bad_input_is_refused(regression, arguments, said):
    model, x, y, _ = regression

    with pytest.raises(SpecError, match=said):
        parsl_optuna.gamma_sweep(model, nn.MSELoss(), (x, y), **arguments)
