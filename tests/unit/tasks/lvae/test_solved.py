import subprocess
import sys

import numpy as np
import pytest
from parsl_optuna.core.errors import TaskError
from parsl_optuna.tasks.lvae import simp, solved

PARAMETERS = np.random.default_rng(3).random((20, 3))


def made(folder, side=8):
    return solved.designs("beams2d", PARAMETERS, side, folder)


def test_designs_made_by_several_processes_are_those_of_one(tmp_path, monkeypatch):
    whole = simp.beams(PARAMETERS, 8)
    monkeypatch.setattr(solved, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(solved, "_cores", lambda: 2)

    assert np.array_equal(made(tmp_path), whole)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_preparation_had_made_is_not_made_again(tmp_path, monkeypatch):
    solve, asked = simp.beams, []

    def killed(parameters, side):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(parameters))
        return solve(parameters, side)

    monkeypatch.setattr(solved, "SOLVERS", {"beams2d": (killed, 3)})
    monkeypatch.setattr(solved, "_cores", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path)
    asked.clear()

    assert np.array_equal(made(tmp_path), solve(PARAMETERS, 8))
    assert asked == [4]  # the third of three chunks


def test_a_chunk_that_was_lost_with_the_power_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(solved, "_cores", lambda: 1)
    monkeypatch.setattr(solved.shutil, "rmtree", lambda *args, **more: None)
    whole = made(tmp_path)
    next(tmp_path.glob(".making-*/chunk-00001.npy")).write_bytes(b"")

    assert np.array_equal(made(tmp_path), whole)


def test_a_process_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(solved, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(solved, "_cores", lambda: 2)
    popen = subprocess.Popen
    failing = [sys.executable, "-c", "raise SystemExit('no memory')"]
    monkeypatch.setattr(solved.subprocess, "Popen", lambda words, **more: popen(failing, **more))

    with pytest.raises(TaskError, match="could not be solved: exit status 1: no memory"):
        made(tmp_path)
