"""What one trial does to its process, its folder or its limits never reaches the next one. Real processes."""

import json
import os
from dataclasses import replace

import pytest
from parsl_optuna.core.records import Asked, Manifest, Request
from parsl_optuna.core.resources import LimitsSpec
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.tasks.function import TASK
from parsl_optuna.worker import supervise

from tests.waiting import wait_for

BAD = """
import multiprocessing, os, resource, signal, subprocess, sys, threading, time
import numpy as np
def f(x, trouble):
    if trouble == "folder": os.chdir("/")
    if trouble == "umask": os.umask(0o777)
    if trouble == "limit": resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))
    if trouble == "files":
        try:
            f.kept = []
            while True: f.kept.append(open("/dev/null"))
        except OSError: pass
    if trouble == "handlers": signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if trouble == "environment": os.environ["PARSL_OPTUNA_TEST"] = "1"
    if trouble == "threads": threading.Thread(target=time.sleep, args=(60,)).start()
    if trouble == "descriptors": os.closerange(0, 4096)
    if trouble == "garbage":
        for fd in range(3, 256):
            try: os.write(fd, b"garbage{")
            except OSError: pass
    if trouble == "streams": sys.stdout = sys.stderr = None
    if trouble == "stdin" and sys.stdin.read(): return -1.0
    if trouble == "fork" and os.fork() == 0: return -99.0
    if trouble == "early fork":
        if os.fork() == 0: return -99.0
        time.sleep(0.5)
    if trouble == "daemon":
        if os.fork() == 0:
            os.setsid()
            time.sleep(70)
    if trouble == "popen": subprocess.Popen(["sleep", "71"], start_new_session=True)
    if trouble == "recursion": sys.setrecursionlimit(60)
    if trouble == "child":
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start(); time.sleep(0.2); child.terminate(); child.join(5)
        return x if child.exitcode == -signal.SIGTERM else -1.0
    if trouble == "file": open("left.txt", "w").write("here")
    if trouble == "unclosed": f.stream = open("left.txt", "w"); f.stream.write("here")
    if trouble == "out": print("to stdout"); print("to stderr", file=sys.stderr)
    if trouble == "random":
        import random
        import torch
        return {"loss": x, "numbers": [random.random(), float(np.random.rand()), float(torch.rand(1))]}
    if trouble == "state":
        number, handler = resource.RLIMIT_NOFILE, signal.getsignal(signal.SIGTERM)
        return {"loss": x, "cwd": os.getcwd(), "umask": os.umask(0o22), "random": float(np.random.rand()),
                "limit": resource.getrlimit(number)[0], "recursion": sys.getrecursionlimit(),
                "handler": handler is signal.SIG_IGN, "env": os.environ.get("PARSL_OPTUNA_TEST")}
    return x
"""
TROUBLES = [
    "folder",
    "umask",
    "limit",
    "files",
    "handlers",
    "environment",
    "threads",
    "descriptors",
    "garbage",
    "streams",
    "stdin",
    "fork",
    "early fork",
    "daemon",
    "popen",
    "recursion",
    "file",
    "unclosed",
    "out",
    "child",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run a trial of a kind in one folder, all on one fork server; give its outcome and folder."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "bad.py").write_text(BAD)
    before = os.getcwd()  # noqa: PTH109
    os.chdir(folder)
    problem = TASK.resolve({"function": "bad.py:f"}, "p $")
    os.chdir(before)
    store = ArtifactStore(folder / "artifacts")
    pid = store.put_problem("function", 1, problem, "bad")
    limits = LimitsSpec(grace_sec=2.0)

    def run(trouble, x=0.5, **more):
        manifest = Manifest(
            "function", 1, "trial", pid, "function", {"x": x, "trouble": trouble}, more.pop("seed", 0), 10.0
        )
        store.put_manifest(manifest, Asked(0, "2020-01-01T00:00:00+00:00", "search"))
        names = (pid, "function", manifest.trial_id)
        request = Request(str(store.paths.root), *names, 10.0, replace(limits, **more), launch=str(folder))
        return supervise.run(request), store.paths.metrics(*names).parent

    yield run
    for client in supervise._clients.values():
        client.close()
    supervise._clients.clear()


def state_of(run, seed):
    metrics, folder = run("state", seed=seed)
    found = dict(metrics["metrics"])
    assert found.pop("cwd") == str(folder / "files")
    return found


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_trial_is_ok_and_leaves_the_next_one_as_it_would_be_alone(runs, trouble):
    first = state_of(runs, TROUBLES.index(trouble))

    outcome, _ = runs(trouble)
    after = state_of(runs, 100 + TROUBLES.index(trouble))

    assert (outcome["state"], outcome["metrics"]) == ("ok", {"loss": 0.5}), outcome["reason"]
    assert first.pop("random") != after.pop("random")  # they are other trials
    assert first == after


@pytest.mark.parametrize("words", [["sleep", "71"]])
def test_nothing_that_a_trial_started_is_left(runs, words):
    psutil = pytest.importorskip("psutil")

    runs("popen", seed=7)
    runs("daemon", seed=7)

    (client,) = supervise._clients.values()
    assert psutil.Process(client._process.pid).children(recursive=True) == []
    wait_for(lambda: not any(one.info["cmdline"] == words for one in psutil.process_iter(["cmdline"])))


def test_what_a_trial_prints_is_kept_beside_its_outcome(runs):
    _, folder = runs("out", seed=3)

    assert (folder / "stdout.txt").read_text() == "to stdout\n"
    assert (folder / "stderr.txt").read_text() == "to stderr\n"


def test_files_that_were_not_closed_are_whole(runs):
    _, folder = runs("unclosed", seed=3)

    assert (folder / "files" / "left.txt").read_text() == "here"


def test_files_that_are_not_to_be_kept_are_told(runs):
    _, folder = runs("file", seed=4, keep_files=("*.csv",))

    assert not (folder / "files").exists()
    assert "not kept" in (folder / "stderr.txt").read_text()


def test_the_modules_that_a_trial_imported_are_on_record(runs):
    outcome, folder = runs("out", seed=5)

    assert list(outcome["code"]) == ["bad.py"]
    assert json.loads((folder / "metrics.json").read_text())["code"] == outcome["code"]


def test_what_one_trial_imported_is_loaded_before_the_next_is_forked(runs):
    runs("out", seed=6)

    (client,) = supervise._clients.values()
    assert "numpy" in client._loaded
    assert "bad" not in client._loaded


def test_a_trial_that_changes_the_environment_has_nothing_loaded_for_others(runs):
    runs("environment", seed=6)
    (client,) = supervise._clients.values()
    before = dict(client._loaded)

    runs("environment", x=0.25, seed=6)

    assert client._loaded == before


def test_random_numbers_are_those_of_the_trial_on_whichever_worker(runs):
    def numbers(seed):
        outcome, folder = runs("random", seed=seed)
        (folder / "metrics.json").rename(folder / "metrics.old")
        return outcome["metrics"]["numbers"]

    first = numbers(0)  # numpy and torch are imported in the trial
    again, other = numbers(0), numbers(1)  # in the process that it is forked from
    for client in supervise._clients.values():
        client.close()
    supervise._clients.clear()
    elsewhere = numbers(0)

    assert first == again == elsewhere
    assert not set(first) & set(other)
