"""Fork servers that die: at their start, between trials, under a trial."""

import os
import signal
import sys
import threading

import pytest
from parsl_optuna.core.errors import ExecutorError, WorkerLost
from parsl_optuna.worker import supervise
from parsl_optuna.worker.fork_client import ForkClient

from tests.unit.worker.test_execute import stored
from tests.unit.worker.test_supervise import no_child_left, run  # noqa: F401
from tests.waiting import wait_for


def a_python_that(folder, script, monkeypatch):
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def test_a_server_that_cannot_start_is_an_error_with_what_it_printed(tmp_path, monkeypatch):
    a_python_that(tmp_path, "echo no such module >&2; exit 3", monkeypatch)

    with pytest.raises(ExecutorError, match="exit code 3: no such module"):
        ForkClient(1.0)


def test_a_server_that_is_killed_while_it_starts_is_lost_and_no_outcome(tmp_path, monkeypatch):
    a_python_that(tmp_path, "kill -9 $$", monkeypatch)
    store, manifest = stored(tmp_path)

    with pytest.raises(WorkerLost):
        run(store, manifest)

    assert store.outcome(manifest) is None


def test_a_server_that_is_killed_under_a_trial_is_lost_and_leaves_no_process(tmp_path):
    log = tmp_path / "log"
    store, manifest = stored(tmp_path / "a", trouble="hang", log=str(log))

    def kill():
        wait_for(lambda: log.exists() and "guess" in log.read_text())
        (client,) = supervise._clients.values()
        os.kill(client._process.pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(WorkerLost, match="was killed"):
        run(store, manifest)
    thread.join()

    assert store.outcome(manifest) is None
    assert supervise._clients == {}


def test_the_trial_after_a_lost_server_gets_a_new_one(tmp_path):
    store, first = stored(tmp_path)
    _, second = stored(tmp_path, x=0.7)
    run(store, first)
    (client,) = supervise._clients.values()
    os.kill(client._process.pid, signal.SIGKILL)
    client._process.wait()

    assert run(store, second)["state"] == "ok"
