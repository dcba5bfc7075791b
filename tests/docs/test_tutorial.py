"""The tutorials, followed literally in an empty folder, and their files, run as they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.command import ROOT, run

TUTORIAL = ROOT / "docs" / "tutorial"
BLOCK = re.compile(r"^```(bash|python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.(?:py|yaml))\n")


def follow(page, folder):
    """Write every file of a page and run every command, in order; a block of Python without a name is run."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    printed = []
    for kind, text in BLOCK.findall(page.read_text()):
        name = FILE.match(text)
        if name is not None:
            (folder / name[1]).write_text(text)
        elif kind != "yaml":  # a YAML block without a name repeats what `init` wrote
            words = ["bash", "-euc", text] if kind == "bash" else [sys.executable, "-c", text]
            done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr
            printed.append(done.stdout)
    return printed


@pytest.mark.system
def test_the_scientist_s(tmp_path):
    out = follow(TUTORIAL / "scientist.md", tmp_path)

    assert " 0 trials run by this command" in out[2]
    rows = pd.read_parquet(tmp_path / "decay" / "results" / "optuna_trials.parquet")
    assert (rows.state == "ok").sum() >= 20


@pytest.mark.system
def test_the_optuna_user_s(tmp_path):
    out = follow(TUTORIAL / "optuna.md", tmp_path)

    assert "{'layers': " in out[1]
    assert "'size'" in out[2]


@pytest.mark.system
def test_the_wandb_user_s(tmp_path):
    out = follow(TUTORIAL / "wandb.md", tmp_path)

    assert "20 runs" in out[0]
    assert out[1].startswith("6 points\n")
    shown = re.findall(r"```yaml\n(program: .*?)```", (TUTORIAL / "wandb.md").read_text(), re.DOTALL)
    assert (tmp_path / "sweep.yaml").read_text().endswith(shown[0])


@pytest.mark.system
def test_the_one_about_networks(tmp_path):
    out = follow(TUTORIAL / "networks.md", tmp_path)

    assert "made up" in out[0]
    assert "ok" in out[2]
    assert (tmp_path / "llc.png").exists()


@pytest.mark.system
def test_the_analyst_s(tmp_path):
    out = follow(TUTORIAL / "analyst.md", tmp_path)

    assert "30 trials" in out[1]
    assert (tmp_path / "trials.csv").exists()


@pytest.mark.system
def test_the_task_of_one_s_own(tmp_path):
    follow(ROOT / "docs" / "tasks" / "own.md", tmp_path)

    rows = pd.read_parquet(tmp_path / "results" / "optuna_trials.parquet")
    assert len(rows) == 24
    close = rows.loc[rows.groupby("pid").error.idxmin()]
    assert (close.error < 0.05).all()
    assert (rows.exact_se == 0).all()


@pytest.mark.system
@pytest.mark.parametrize(("name", "best"), [("branin", 2.0), ("train", 1e-6)])
def test_an_own_objective_is_tuned_and_not_run_again(tmp_path, name, best):
    arguments = ["--config", TUTORIAL / f"{name}.yaml", "--local"]
    arguments += ["--artifacts-dir", tmp_path / "a", "--results-dir", tmp_path / "r"]
    run("parsl-optuna", *arguments)
    rows = pd.read_parquet(tmp_path / "r" / "optuna_trials.parquet")
    assert rows.objective.min() < best
    assert (rows.hyperparams_json.str.count("\\.") > 0).all()  # no whole numbers among reals

    out, _ = run("parsl-optuna", *arguments)
    assert " 0 trials run" in out


def test_an_own_objective_takes_few_lines():
    assert len((TUTORIAL / "branin.py").read_text().splitlines()) < 15
    assert len((TUTORIAL / "branin.yaml").read_text().splitlines()) < 10
