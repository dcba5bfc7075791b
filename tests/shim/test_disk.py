"""What the store asks of the system, in which order, and what it says when the system refuses."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from tests.e2e.command import ROOT
from tests.shim.shim import calls, environment

COMMIT = """
import sys
from dataclasses import replace
from pathlib import Path
from parsl_optuna.core.records import Asked, Manifest, State
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.worker.execute import failure
store = ArtifactStore(Path(sys.argv[1]))
trial = Manifest("toy", 1, "trial", "p_0123456789ab", "guess", {"x": 1.0}, 0, 60.0)
store.put_manifest(trial, Asked(0, "2026-01-01T00:00:00.000Z", "search"))
store.commit(trial, failure(trial, State.OK, ""))
"""


def python(code, *args, env):
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, cwd=ROOT)


def committed(tmp_path, rules=""):
    """Return the calls of one commit, file names without their random parts."""
    log = tmp_path / "log"
    folder = tmp_path / "artifacts"
    done = python(COMMIT, folder, env=environment(folder, rules, log))
    assert done.returncode == 0, done.stderr
    trial = next(path for path in folder.glob("runs/*/*/*") if path.is_dir())
    found = [
        (call, path) for call, path in calls(log, folder) if path.startswith(str(trial.relative_to(folder)))
    ]
    names = [(call, path.rpartition("/")[2]) for call, path in found]
    return [(call, re.sub(r"^\.[0-9a-f]{16}\.tmp$", "TEMPORARY", name)) for call, name in names], trial.name


def test_an_outcome_outlives_a_power_failure_with_its_manifest(tmp_path):
    """Content before its name; then the manifest, then the names in the folder, before anyone is told."""
    found, folder = committed(tmp_path)

    start = found.index(("link", "metrics.json"))
    before = found[:start]
    assert before[-2:] == [("write", "TEMPORARY"), ("fsync", "TEMPORARY")]
    after = [one for one in found[start:] if one[0] == "fsync"]
    assert after == [("fsync", "manifest.json"), ("fsync", folder)]


def test_without_links_the_same_is_synced(tmp_path):
    found, folder = committed(tmp_path, "link=1")

    start = found.index(("rename", "metrics.json"))
    assert ("fsync", "TEMPORARY") in found[:start]
    assert [one for one in found[start:] if one[0] == "fsync"] == [
        ("fsync", "manifest.json"),
        ("fsync", folder),
    ]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("write=28", "No space left on device"),
        ("fsync=5", "Input/output error"),
        ("create=30", "Read-only file system"),
        ("mkdir=122", "Disk quota exceeded"),
    ],
)
def test_a_disk_that_refuses_is_a_store_error_and_leaves_no_half_file(tmp_path, rule, words):
    folder = tmp_path / "artifacts"

    done = python(COMMIT, folder, env=environment(folder, rule))

    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("parsl_optuna.core.errors.StoreError: ")
    assert words in last
    assert {path.name for path in folder.rglob("*") if path.is_file()} <= {"manifest.json"}


@pytest.fixture
def config(tmp_path):
    raw = {
        "task": "tests.toy:TASK",
        "problems": [{"truth": 1.0}],
        "methods": ["guess"],
        "optuna": {"max_trials": 4, "batch_size": 1, "sampler": "random", "confirm": 0},
        "artifacts_dir": str(tmp_path / "artifacts"),
        "results_dir": str(tmp_path / "results"),
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


def tuned(config, env):
    command = [sys.executable, "-m", "parsl_optuna", "--config", str(config), "--inline"]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, cwd=ROOT)


def outcomes(folder):
    found = [json.loads(path.read_text()) for path in folder.glob("artifacts/runs/*/*/*/metrics.json")]
    return {one["trial_id"]: one["state"] for one in found}


def test_a_study_runs_on_a_file_system_without_links(tmp_path, config):
    done = tuned(config, environment(tmp_path, "link=1"))

    assert done.returncode == 0, done.stderr
    assert len(outcomes(tmp_path)) == 5
    assert set(outcomes(tmp_path).values()) == {"ok"}
    assert list(tmp_path.glob("artifacts/**/.*")) == []


@pytest.mark.parametrize(
    "rule",
    ["link=5:0.3", *(pytest.param(one, marks=pytest.mark.slow) for one in ("write=28:0.1", "fsync=5:0.1"))],
)
def test_a_disk_that_fails_now_and_then_never_fails_a_trial(tmp_path, config, rule):
    """The command ends with one line; the same command on a sound disk ends the study, all trials ok."""
    done = tuned(config, environment(tmp_path, rule, seed=1))

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert set(outcomes(tmp_path).values()) <= {"ok"}
    again = tuned(config, None)
    assert again.returncode == 0, again.stderr
    assert set(outcomes(tmp_path).values()) == {"ok"}
    assert len(outcomes(tmp_path)) == 5
