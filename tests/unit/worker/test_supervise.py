"""Real child processes that misbehave."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import psutil
import pytest
from parsl_optuna.core.errors import NodeReclaimed, NotStarted, StoreError, WorkerLost
from parsl_optuna.core.records import Request, State
from parsl_optuna.core.resources import LimitsSpec
from parsl_optuna.store.output import MOST_BYTES
from parsl_optuna.store.progress import ask_to_stop
from parsl_optuna.worker import supervise
from parsl_optuna.worker.fork_client import Ended
from parsl_optuna.worker.messages import ENGINE_FAULT
from parsl_optuna.worker.supervise import verdict

from tests.unit.worker.test_execute import stored
from tests.waiting import wait_for

LIMITS = LimitsSpec(grace_sec=0.5)


@pytest.fixture(autouse=True)
def no_child_left():
    """Every test starts with a fork server of its own."""
    yield
    for client in supervise._clients.values():
        client.close()
    supervise._clients.clear()


def run(store, manifest, leaving=None, **limits):
    names = (manifest.pid, manifest.method, manifest.trial_id)
    limits = replace(LIMITS, **limits)
    return supervise.run(Request(str(store.paths.root), *names, manifest.budget_sec, limits, leaving=leaving))


def with_budget(tmp_path, trouble, seconds=0.2):
    from tests.unit.worker.test_execute import ASKED  # noqa: PLC0415

    store, manifest = stored(tmp_path, trouble=trouble)
    short = replace(manifest, budget_sec=seconds)
    store.put_manifest(short, ASKED)
    return store, short


def test_trials_are_forked_one_after_another_from_one_server(tmp_path):
    store, first = stored(tmp_path)
    _, second = stored(tmp_path, x=0.7)

    assert run(store, first)["state"] == "ok"
    (client,) = supervise._clients.values()
    assert run(store, second)["state"] == "ok"
    assert list(supervise._clients.values()) == [client]


@pytest.mark.parametrize(
    ("trouble", "state", "words"),
    [
        ("segfault", "failed", "SIGSEGV"),
        ("exit", "failed", "exit code 3"),
        ("orphan", "failed", "exit code 3"),
        ("all", "failed", "x is too large"),
        ("nan", "invalid", "nan"),
        ("hang", "timeout", "after its budget"),
    ],
)
def test_what_a_trial_does_to_itself_is_its_outcome_and_the_next_one_runs(tmp_path, trouble, state, words):
    store, manifest = with_budget(tmp_path / "a", trouble)
    outcome = run(store, manifest)

    assert (outcome["state"], words in outcome["reason"]) == (state, True)
    assert store.outcome(manifest).state == state
    good_store, good = stored(tmp_path / "b")
    assert run(good_store, good)["state"] == "ok"


def test_what_a_trial_started_ends_with_it(tmp_path):
    store, manifest = stored(tmp_path, trouble="orphan")
    before = set(psutil.pids())

    run(store, manifest)

    wait_for(lambda: not any(is_running(pid) and pid not in before for pid in sleepers()))


def sleepers():
    return [one.pid for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "30"]]


def test_a_crash_leaves_its_trace(tmp_path):
    store, manifest = stored(tmp_path, trouble="segfault")

    assert "toy.py" in run(store, manifest)["traceback"]


def test_memory_beyond_the_limit_is_out_of_memory(tmp_path):
    store, manifest = stored(tmp_path, trouble="eat")

    assert run(store, manifest, memory_gb=1.0)["state"] == "out_of_memory"


def test_of_a_flood_of_output_the_first_and_last_part_are_kept(tmp_path):
    store, manifest = stored(tmp_path, trouble="flood")

    assert run(store, manifest)["state"] == "ok"
    path = store.paths.output(manifest.pid, manifest.method, manifest.trial_id, "stdout")
    assert path.stat().st_size < 1.01 * MOST_BYTES
    assert path.read_text().startswith("xxx")
    assert path.read_text().endswith("the end\n")
    assert "bytes are left out here" in path.read_text()


def test_a_kill_from_outside_is_lost_and_commits_nothing(tmp_path):
    store, manifest = stored(tmp_path, trouble="sigkill")

    with pytest.raises(WorkerLost, match="killed from outside"):
        run(store, manifest)

    assert store.outcome(manifest) is None


def test_a_store_that_fails_is_not_the_trial_s_fault(tmp_path):
    store, manifest = stored(tmp_path)
    store.paths.metrics(manifest.pid, manifest.method, manifest.trial_id).mkdir()

    with pytest.raises(StoreError):
        run(store, manifest)


@contextlib.contextmanager
def reclaimed(log):
    """Take the node back from a trial that writes to *log*, in its sixth step."""

    def reclaim():
        wait_for(lambda: log.exists() and "step 5" in log.read_text())
        (client,) = supervise._clients.values()
        os.kill(client._process.pid, signal.SIGTERM)

    thread = threading.Thread(target=reclaim)
    thread.start()
    yield
    thread.join()


def test_a_node_that_is_wanted_back_costs_no_step(tmp_path):
    log = tmp_path / "log"
    store, manifest = stored(tmp_path / "a", trouble="steps", log=str(log))

    with reclaimed(log), pytest.raises(NodeReclaimed):
        run(store, manifest)
    outcome = run(store, manifest)

    steps = [line for line in log.read_text().splitlines() if line.startswith("step")]
    assert steps == [f"step {i}" for i in range(40)]
    assert outcome["runtime_sec"] > 40 * 0.05
    folder = store.paths.metrics(manifest.pid, manifest.method, manifest.trial_id).parent
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "metrics.json"}


def test_of_two_workers_on_one_trial_one_result_is_accepted_by_both(tmp_path):
    store, manifest = stored(tmp_path, sleep_sec=0.2)
    found = []
    threads = [threading.Thread(target=lambda: found.append(run(store, manifest))) for _ in range(2)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found[0] == found[1] == store.outcome(manifest).to_json()


def test_nothing_starts_once_the_driver_is_leaving(tmp_path):
    store, manifest = stored(tmp_path)
    leaving = tmp_path / "leaving"
    leaving.touch()

    with pytest.raises(NotStarted):
        run(store, manifest, str(leaving))

    assert store.outcome(manifest) is None


def test_a_child_ends_with_its_parent(tmp_path):
    store, manifest = stored(tmp_path, trouble="hang")
    where = (str(store.paths.root), manifest.pid, manifest.method, manifest.trial_id)
    root, *names = where
    code = "from parsl_optuna.core.records import Request\nfrom parsl_optuna.worker.supervise import run\n"
    code += f"run(Request({root!r}, *{names!r}, 60.0))"
    parent = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    child = wait_for(lambda: children_of(parent.pid))

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()

    wait_for(lambda: not any(is_running(pid) for pid in child))


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as stream:  # noqa: PTH123
        return [int(word) for word in stream.read().split()]


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:  # noqa: PTH123
            return stream.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("status", "peak", "overran", "state"),
    [
        (3, 0, None, State.FAILED),
        (0, 0, None, State.FAILED),
        (ENGINE_FAULT, 0, None, State.LOST),
        (-signal.SIGSEGV, 0, None, State.FAILED),
        (-signal.SIGABRT, 0, None, State.FAILED),
        (-signal.SIGKILL, 0, None, State.LOST),
        (-signal.SIGTERM, 0, None, State.LOST),
        (-signal.SIGKILL, 2**30, None, State.OUT_OF_MEMORY),
        (-signal.SIGKILL, 0, 5.0, State.TIMEOUT),
    ],
)
def test_a_death_is_told_by_its_cause(status, peak, overran, state):
    assert verdict(Ended(status, peak, overran, began=True), 1.0, 1.0)[0] is state


def test_a_trial_has_its_grace_beyond_its_budget(tmp_path):
    from tests.unit.worker.test_execute import ASKED  # noqa: PLC0415

    store, manifest = stored(tmp_path, sleep_sec=0.5)
    short = replace(manifest, budget_sec=0.01)
    store.put_manifest(short, ASKED)

    assert run(store, short, grace_sec=60.0)["state"] == "ok"


def test_a_trial_that_is_asked_to_stop_is_pruned(tmp_path):
    store, manifest = stored(tmp_path, trouble="hang")
    names = (manifest.pid, manifest.method, manifest.trial_id)
    ask_to_stop(store.paths.stop(*names), "others are better")

    limits = replace(LIMITS, grace_sec=60.0)
    request = Request(str(store.paths.root), *names, manifest.budget_sec, limits, prunable=True)
    outcome = supervise.run(request)

    assert (outcome["state"], outcome["reason"]) == ("pruned", "others are better")
