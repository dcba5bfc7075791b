"""``collect`` writes the table of one task, and never an empty one over another task's."""

import shutil

import pytest
from click.testing import CliRunner
from parsl_optuna.cli.collect import command
from parsl_optuna.core.errors import SpecError

from tests.conftest import ROOT

ARTIFACTS = ROOT / "tests" / "golden" / "form2" / "artifacts"


def collect(tmp_path, artifacts, *words):
    given = ["--artifacts-dir", str(artifacts), "--results-dir", str(tmp_path / "results"), *words]
    return CliRunner().invoke(command, given, catch_exceptions=False).output


@pytest.fixture
def functions(tmp_path):
    """Artifacts of one task: the problems of a golden tree that are functions."""
    for problem in (ARTIFACTS / "problems").iterdir():
        if '"task": "function"' in (problem / "problem.json").read_text():
            for kind in ("problems", "runs"):
                shutil.copytree(ARTIFACTS / kind / problem.name, tmp_path / "artifacts" / kind / problem.name)
    return tmp_path / "artifacts"


def test_the_only_task_needs_no_name(tmp_path, functions):
    out = collect(tmp_path, functions)

    assert int(out.split()[0]) > 0
    assert (tmp_path / "results" / "optuna_trials.parquet").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [((), "choose one with --task"), (("--task", "functoin"), "did you mean 'function'")],
)
def test_one_of_several_tasks_must_be_named(tmp_path, words, said):
    with pytest.raises(SpecError, match=said):
        collect(tmp_path, ARTIFACTS, *words)

    assert not (tmp_path / "results").exists()


def test_no_artifacts_are_no_table(tmp_path):
    with pytest.raises(SpecError, match="no problems yet"):
        collect(tmp_path, tmp_path / "artifacts")
