"""Functions and programs are tuned where torch is not installed."""

import os
import subprocess
import sys

import pytest

from tests.e2e.command import SCRIPTS

REFUSED = '''
import sys

class Refuse:
    """torch is not installed in this environment."""
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return None

sys.meta_path.insert(0, Refuse())
'''
FUNCTION = """
def loss(x, kind, report):
    try:
        import torch
    except ModuleNotFoundError:
        report(1, {"loss": x * x})
        return {"loss": x * x + (kind == "b")}
    raise RuntimeError("torch is there")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text(REFUSED)
    return tmp_path


def run(folder, *args, code=0):
    """Run a command, its workers and their trials without torch."""
    environment = os.environ | {"PYTHONPATH": str(folder / "blocked")}
    done = subprocess.run(
        [str(SCRIPTS["parsl-optuna"]), *map(str, args)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_torch_is_not_there(folder):
    """The test would show nothing otherwise."""
    found = subprocess.run(
        [sys.executable, "-c", "import torch"], env=os.environ | {"PYTHONPATH": str(folder / "blocked")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert "No module named 'torch'" in found.stderr


STARTERS = {
    "function": (["--config", "study.yaml", "--max-trials", "3"], "results"),
    "program": (["--config", "study.yaml", "--max-trials", "3"], "results"),
    "sweep": (["sweep", "sweep.yaml", "--count", "3"], "results/sweep"),
}


@pytest.mark.system  # three times what the test below shows
@pytest.mark.parametrize("kind", STARTERS)
def test_a_starter_runs_and_its_results_are_read(folder, kind):
    words, results = STARTERS[kind]
    run(folder, "init", kind)

    out = run(folder, *words, "--local")

    assert "3 trials in the table" in out
    assert "failed:" not in out
    run(folder, "analyze", results)


@pytest.mark.system
def test_a_function_of_the_users(folder):
    (folder / "code_file.py").write_text(FUNCTION)
    (folder / "study.yaml").write_text(
        'task: function\nproblems: [{function: "code_file.py:loss"}]\n'
        "search_space: {function: {x: {low: -1.0, high: 1.0}, kind: {choices: [a, b]}}}\n"
        "optuna: {max_trials: 6, batch_size: 2, confirm: 1, method_budget_sec: 60, sampler: rank_gp}\n"
    )

    out = run(folder, "--config", "study.yaml", "--local")

    assert "failed:" not in out


def test_what_needs_torch_says_so_in_one_line(folder):
    (folder / "study.yaml").write_text(
        "problems: [{model: small, data: base, teacher: _null}]\nmethods: [sgld]\noptuna: {max_trials: 1}\n"
    )

    out = run(folder, "--config", "study.yaml", "--inline", code=2)

    assert out.endswith("needs torch, which is not installed; run: pip install torch\n")
