"""The built wheel, installed into an environment of its own, in folders that know nothing of the checkout."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from parsl_optuna.report import tables

from tests.e2e.command import ROOT

PACKAGE = ROOT / "workflow" / "parsl_optuna"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return a wheel, built from a copy: setuptools leaves folders beside what it builds."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = ["git", "ls-files", "-z", "pyproject.toml", "README.md", "workflow"]
    for name in filter(None, subprocess.check_output(listed, cwd=ROOT, text=True).split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = ["wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([sys.executable, "-m", "pip", *build, "--wheel-dir", folder, source], check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory):
    """Return the folder of the installed commands; only what the package needs is borrowed from here."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    (site,) = (home / "lib").glob("python*/site-packages")
    install = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([sys.executable, "-m", "pip", "--python", home / "bin" / "python", *install], check=True)
    borrowed = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))
    return home / "bin"


@pytest.fixture
def run(programs, tmp_path):
    """Run an installed command in an empty folder."""

    def call(program, *args, code=0, path=f"{programs}:/usr/bin:/bin"):
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))
        }
        done = subprocess.run(
            [programs / program, *args],
            cwd=tmp_path,
            env=kept | {"PATH": str(path), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stderr if code else done.stdout

    return call


def test_the_wheel_holds_every_file_of_the_package(wheel):
    listed = subprocess.check_output(["git", "ls-files", "-z", str(PACKAGE)], cwd=ROOT, text=True)
    files = {
        name.removeprefix("workflow/") for name in listed.split("\0") if name and (ROOT / name).is_file()
    }

    assert files - set(zipfile.ZipFile(wheel).namelist()) == set()


@pytest.mark.system
def test_commands_come_from_the_installed_package(run, tmp_path):
    out = run("python", "-c", "import parsl_optuna, sys; print(parsl_optuna.__file__); print(sys.path)")

    assert str(ROOT / "workflow") not in out
    assert "environment" in out.splitlines()[0]


SMALL = ["--set", "optuna.max_trials=2", "--set", "optuna.confirm=0"]
OF_LLC = [
    "--set",
    "methods=[sgld]",
    "--set",
    "search_space={sgld: {steps: 500}}",
    "--set",
    "reference={draws: 200, warmup: 200}",
]


@pytest.mark.system
@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("function", ["--config", "study.yaml", "--parsl-config", "local", *SMALL]),
        ("program", ["--config", "study.yaml", "--inline", *SMALL]),
        ("autoencoder", ["--config", "study.yaml", "--inline", *SMALL]),
        ("llc", ["--config", "study.yaml", "--inline", *SMALL, *OF_LLC]),
        ("sweep", ["sweep", "sweep.yaml", "--inline", "--count", "2"]),
    ],
)
def test_a_project_is_written_run_and_analysed(run, tmp_path, kind, command):
    run("parsl-optuna", "init", kind)

    run("parsl-optuna", *command)

    results = "results/sweep" if kind == "sweep" else "results"
    run("parsl-optuna", "analyze", results)
    rows = tables.read(tables.table_in(tmp_path / results)).to_pylist()
    assert [row["state"] for row in rows] == ["ok", "ok"]
    assert (tmp_path / results / "analysis").is_dir()


@pytest.mark.system
def test_the_doctor_finds_a_worker(run):
    out = run("parsl-optuna", "doctor", "--parsl-config", "local")

    assert "FAIL" not in out


@pytest.mark.system
@pytest.mark.parametrize(("name", "program"), [("slurm", "squeue"), ("pbs", "qselect")])
def test_a_scheduler_is_known_by_name(run, programs, name, program):
    """Where its commands are missing, they are what is asked for: no file of this name is looked for."""
    run("parsl-optuna", "init", "function")

    error = run("parsl-optuna", "--config", "study.yaml", "--parsl-config", name, code=2, path=programs)

    assert f"{program}: no such program here" in error
