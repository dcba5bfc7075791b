"""A user's folder full of names that other modules have: studies run and find the user's own modules."""

import json

import pytest

from tests.e2e.command import run

TRAPS = ("json", "types", "random", "select", "torch", "psutil", "socket", "signal")
STUDY = """
task: function
problems: [{function: f.py:f}, {function: pkg/g.py:f}]
search_space: {function: {x: {low: 0.0, high: 1.0}}}
optuna: {max_trials: 2, batch_size: 2, confirm: 0}
"""


@pytest.mark.parametrize("where", ["--inline", "--local"])
def test_no_file_of_the_users_hides_a_module_of_ours(tmp_path, where):
    for name in TRAPS:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('hides another module')")
    for name in ("workflow", "parsl_optuna", "parsl"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('hides another package')")
    (tmp_path / "utils.py").write_text("K = 2.0")
    (tmp_path / "f.py").write_text("import numpy\nfrom utils import K\ndef f(x):\n    return x * K\n")
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    (tmp_path / "pkg" / "helper.py").write_text("K = 3.0")
    (tmp_path / "pkg" / "g.py").write_text("from .helper import K\ndef f(x):\n    return x * K\n")
    (tmp_path / "study.yaml").write_text(STUDY)

    run("parsl-optuna", "run", "--config", "study.yaml", where, cwd=tmp_path)

    states = [
        json.loads(path.read_text())["state"] for path in tmp_path.glob("artifacts/runs/*/*/*/metrics.json")
    ]
    assert states == ["ok"] * 4
