"""What a trial says that cannot be."""

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import SpecError, TaskError
from parsl_optuna.tasks import source
from parsl_optuna.tasks.base import Work
from parsl_optuna.tasks.llc.along import METHOD, TASK
from parsl_optuna.tasks.llc.along.run import run

from tests.lines import MODEL


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """A function that makes the work of one checkpoint."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "line.py").write_text(MODEL)
    torch.save({"weight": torch.tensor([[2.0]])}, "a.pt")

    def made(function="parts", budget_sec=20.0, **params):
        problem = TASK.resolve({"model": f"line.py:{function}"}, "test")
        named = {"checkpoint": "a.pt", "digest": source.checksum(tmp_path / "a.pt"), "relative_error": 0.05}
        complete = TASK.complete(problem, METHOD, named | params, "test")
        return Work(problem, METHOD, complete, 1, Deadline(budget_sec), None, files=tmp_path / "files")

    return made


def test_the_trial_has_the_estimate_and_its_picture(trial, tmp_path):
    found = run(trial(device="cpu, cpu"))

    assert found["status"] == "ok"
    assert found["device"] == "cpu,cpu"
    assert abs(found["llc_hat"] - 0.5) < 0.05
    assert (tmp_path / "files" / "trace.npz").exists()


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        (
            {"function": "wrong"},
            TaskError,
            r"wrong in line.py returned a Linear; return \(model, loss, data\)",
        ),
        ({"digest": "0" * 16}, TaskError, "a.pt: was edited since"),
        ({"device": "mps"}, SpecError, "device"),
        ({"device": "cpu,mps"}, SpecError, "device 'cpu,mps': several devices must be of one kind"),
    ],
)
def test_what_cannot_be_is_one_line(trial, changes, error, said):
    with pytest.raises(error, match=said):
        run(trial(**changes))
