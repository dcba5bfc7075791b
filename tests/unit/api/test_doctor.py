from concurrent.futures import Future
from importlib import metadata
from pathlib import Path

import pytest
from parsl_optuna.api import doctor
from parsl_optuna.core.errors import ExecutorError
from parsl_optuna.execution.inline import InlineExecutor

from tests.e2e.command import run


class Elsewhere(InlineExecutor):
    """A worker that sees another file system."""

    def submit(self, function, *args, urgency=0.0):
        return super().submit(function, "/elsewhere" + args[0], urgency=urgency)


class Silent(InlineExecutor):
    """A worker that never answers."""

    def submit(self, function, *args, urgency=0.0):
        return Future()


class Broken(InlineExecutor):
    """Workers that cannot start."""

    def submit(self, function, *args, urgency=0.0):
        raise ExecutorError("the first block failed: exit 7")


def test_everything_that_is_needed_is_installed_here():
    findings = list(doctor.installation())

    assert all(finding.is_ok for finding in findings)
    assert {"Python", "optuna", "parsl", "torch"} <= {finding.name for finding in findings}


def test_a_package_that_is_missing_is_named_with_its_cure():
    finding = doctor._package("no-such-package>=1.2")

    assert not finding.is_ok
    assert "pip install 'no-such-package>=1.2'" in finding.detail


def test_functions_are_tuned_without_torch(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", version)

    finding = doctor._package("torch>=2.2")

    assert finding.is_ok
    assert "pip install 'torch>=2.2'" in finding.detail


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()

    finding = doctor.folder(tmp_path / "file" / "artifacts", "choose another one")

    assert not finding.is_ok
    assert "choose another one" in finding.detail


def test_a_worker_that_sees_the_folder_is_ok(tmp_path):
    finding = doctor.workers(InlineExecutor(), tmp_path, 1.0)

    assert finding.is_ok
    assert list(Path(tmp_path).iterdir()) == []


@pytest.mark.parametrize(
    ("executor", "words"),
    [(Elsewhere, "does not see"), (Silent, "none answered within 0.3 s"), (Broken, "exit 7")],
)
def test_a_worker_that_is_of_no_use_is_told(tmp_path, executor, words):
    finding = doctor.workers(executor(), tmp_path, 0.3)

    assert not finding.is_ok
    assert words in finding.detail


def test_the_command_starts_a_real_worker(tmp_path):
    out, _ = run("parsl-optuna", "doctor", "--parsl-config", "local", cwd=tmp_path)

    assert "sees the artifacts" in out
    assert "FAIL" not in out
