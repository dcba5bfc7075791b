"""The projects that init writes."""

import pytest
import yaml
from click.testing import CliRunner
from parsl_optuna.cli.init import command
from parsl_optuna.core.errors import SpecError
from parsl_optuna.study.plan.tuning import load_run, plan_run

from tests.e2e.command import run


@pytest.mark.parametrize("kind", ["function", "program", "llc", "autoencoder"])
def test_a_project_can_be_planned(tmp_path, monkeypatch, kind):
    CliRunner().invoke(command, [kind, "--into", str(tmp_path)], catch_exceptions=False)
    monkeypatch.chdir(tmp_path)

    assert plan_run(load_run(tmp_path / "study.yaml"), "study.yaml").studies


@pytest.mark.parametrize("kind", ["function", "program", "llc", "autoencoder"])
def test_its_cluster_block_is_valid(tmp_path, monkeypatch, kind):
    CliRunner().invoke(command, [kind, "--into", str(tmp_path)], catch_exceptions=False)
    text = (tmp_path / "study.yaml").read_text()
    block = "cluster:" + text.split("# cluster:")[1].replace("\n# ", "\n")
    monkeypatch.chdir(tmp_path)

    assert load_run(
        tmp_path / "study.yaml", [f"cluster={yaml.safe_load(block)['cluster']}"]
    ).cluster.partition


def test_existing_files_are_kept(tmp_path):
    (tmp_path / "study.yaml").write_text("mine")

    with pytest.raises(SpecError, match=r"study\.yaml: is there already"):
        CliRunner().invoke(command, ["function", "--into", str(tmp_path)], catch_exceptions=False)

    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize(
    ("kind", "program"),
    [
        ("function", ["--config", "study.yaml"]),
        ("program", ["--config", "study.yaml"]),
        ("sweep", ["sweep", "sweep.yaml"]),
    ],
)
def test_a_project_runs_at_once(tmp_path, kind, program):
    run("parsl-optuna", "init", kind, cwd=tmp_path)

    out, _ = run("parsl-optuna", *program, "--inline", cwd=tmp_path)

    assert "failed" not in out
    assert (tmp_path / "results").is_dir()
