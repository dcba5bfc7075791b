import parsl_optuna
import pytest
import torch
from torch import nn

from tests.scenarios import n_beta, quadratic


@pytest.fixture
def trajectory(generator):
    """Least squares on its way: at the end the exact coefficient, before it no minimum."""
    x = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([[1.0], [-2.0]]).double() + 0.1 * torch.randn(200, 1, generator=generator)
    model = nn.Linear(2, 1, bias=False).double()
    solution = torch.linalg.lstsq(x, y).solution.T

    def training():
        for step, share in ((0, 0.5), (100, 1.0)):
            with torch.no_grad():
                model.weight.copy_(share * solution)
            yield step, model.state_dict()

    found = parsl_optuna.estimate_over(
        training(), model, nn.MSELoss(), (x, y), budget_sec=20, relative_error=0.05
    )
    return found, torch.linalg.eigvalsh(2 * x.T @ x / 200).tolist()


def test_every_checkpoint_has_its_estimate(trajectory, tmp_path):
    found, eigenvalues = trajectory

    early, late = found.estimates
    truth = quadratic(eigenvalues, n_beta(200))
    assert found.labels == (0, 100)
    assert early.status == "not_minimum"
    assert late.status == "ok", late.reason
    assert abs(late.llc - truth) < 4 * late.se
    assert list(found.table["checkpoint"]) == [0, 100]
    assert found.table["loss"].is_monotonic_decreasing
    assert str(found).startswith("0: LLC ")
    found.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_later_checkpoint_that_cannot_be_read_loses_no_estimate(generator, tmp_path):
    x = torch.randn(100, 1, generator=generator, dtype=torch.float64)
    model = nn.Linear(1, 1, bias=False).double()
    model.weight.data.fill_(1.0)
    torch.save(model.state_dict(), tmp_path / "1.pt")
    (tmp_path / "2.pt").write_bytes((tmp_path / "1.pt").read_bytes()[:300])

    found = parsl_optuna.estimate_over(tmp_path, model, nn.MSELoss(), (x, x), relative_error=0.1)

    assert found.labels == (1,)
    assert [label for label, _ in found.refused] == [2]
    assert found.table["status"].tolist() == [found.estimates[0].status, "refused"]
    assert "2: refused: checkpoints: " in str(found)
    found.plot(tmp_path / "a.png")
