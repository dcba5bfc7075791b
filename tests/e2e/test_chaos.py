"""Faults with real processes: whatever happens, the same command again ends with the undisturbed table."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest
import yaml
from parsl_optuna.store import document

from tests.e2e.command import MARK, ROOT, run, start, write_config
from tests.e2e.test_resume import committed
from tests.waiting import wait_for

pytestmark = pytest.mark.system

POINTS = [{"x": round(-1.9 + 0.3 * i, 3), "k": 1 + i % 8, "kind": "plain"} for i in range(8)]
"""All trials are first guesses, so that whatever the order the set of trials is the same."""


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path):
    """However a driver ends, its workers end too."""
    yield
    folder = tmp_path / "run"
    ours = ("parsl-optuna", "HTEX", "execution.watched_pool", "parsl_optuna.worker.child")
    wait_for(lambda: not any(named(folder, word) for word in ours), 120)
    for one in named(folder, ""):  # the helpers of a worker pool that was killed
        one.kill()


def config_in(folder, sleep_sec=0.3, trouble="none", **limits):
    folder.mkdir(exist_ok=True)
    return write_config(
        folder,
        problems=[{"truth": 1.0, "sleep_sec": sleep_sec, "trouble": trouble, "log": str(folder / "log")}],
        enqueue={"guess": POINTS},
        optuna={"max_trials": len(POINTS), "batch_size": 3, "confirm": 0, "method_budget_sec": 2},
        limits={"grace_sec": 1.0} | limits,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Objectives of all trials, by hyperparameters."""
    folder = tmp_path_factory.mktemp("calm") / "run"
    run("parsl-optuna", "--config", config_in(folder), "--local")
    return outcomes(folder)


def outcomes(folder):
    rows = pd.read_parquet(folder / "results" / "optuna_trials.parquet")
    assert rows["trial_id"].is_unique
    return {
        row.hyperparams_json: (row.state, row.value - seed_noise(row.trial_id)) for row in rows.itertuples()
    }


def seed_noise(trial_id):
    from parsl_optuna.core.ids import derive_seed  # noqa: PLC0415

    return (derive_seed("run", trial_id) % 1000) / 1e5


def named(folder, word):
    """Return the processes of a run whose command line has *word* in it; they find the run by its folder."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if word in " ".join(one.cmdline()) and one.environ().get(MARK) == str(folder):
                found.append(one)
    return found


def started(folder, n=2):
    wait_for(lambda: len(committed(folder)) >= n)


def end(process):
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return process.returncode, err


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for point, (state, value) in wanted.items():
        assert found[point][0] == state
        assert found[point][1] == pytest.approx(value)


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_kill_9_of_the_driver_at_any_moment(tmp_path, undisturbed, seed):
    folder = tmp_path / "run"
    config = config_in(folder)
    process = start("parsl-optuna", "--config", config, "--local")
    time.sleep(random.Random(seed).uniform(0.5, 4.0))
    os.killpg(process.pid, signal.SIGKILL)
    end(process)

    run("parsl-optuna", "--config", config, "--local")

    same(outcomes(folder), undisturbed)


@pytest.mark.parametrize(
    "victim", ["parsl_optuna.worker.child", "execution.watched_pool", "HTEX interchange"]
)
def test_kill_9_of_what_serves_the_driver(tmp_path, undisturbed, victim):
    folder = tmp_path / "run"
    process = start("parsl-optuna", "--config", config_in(folder), "--local")
    started(folder)

    # The interchange renames itself, which wipes its environment; it is the driver's own child.
    children = psutil.Process(process.pid).children()
    (named(folder, victim) or [one for one in children if victim in one.cmdline()[0]])[0].kill()
    code, _ = end(process)

    assert code == 0
    same(outcomes(folder), undisturbed)


def test_a_worker_killed_with_its_trial(tmp_path, undisturbed):
    folder = tmp_path / "run"
    process = start("parsl-optuna", "--config", config_in(folder), "--local")
    started(folder)

    child = named(folder, "parsl_optuna.worker.child")[0]
    worker = child.parent()
    worker.kill()
    code, _ = end(process)

    assert code == 0
    same(outcomes(folder), undisturbed)


@pytest.mark.parametrize(
    ("trouble", "state"),
    [
        ("segfault", "failed"),
        ("exit", "failed"),
        ("hang", "timeout"),
        ("eat", "out_of_memory"),
        ("flood", "ok"),
        ("sigkill", "lost"),
    ],
)
def test_what_a_trial_does_to_itself_takes_nothing_else_along(tmp_path, trouble, state):
    folder = tmp_path / "run"
    config = config_in(folder, 0.0, trouble, memory_gb=1.0)

    budget = "2" if state == "timeout" else "60"  # on a busy machine a gigabyte takes its time
    options = ("--max-trials", "3", "--method-budget", budget)
    process = start("parsl-optuna", "--config", config, "--local", *options)
    end(process)

    rows = pd.read_parquet(folder / "results" / "optuna_trials.parquet")
    assert list(rows["state"]) == [state] * 3
    assert state == "ok" or rows["reason"].notna().all()


def test_a_signal_to_all_processes_at_once_ends_them_and_the_same_command_goes_on(tmp_path, undisturbed):
    folder = tmp_path / "run"
    process = start("parsl-optuna", "--config", config_in(folder), "--local")
    started(folder)

    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=30)

    end(start("parsl-optuna", "--config", config_in(folder), "--local"))
    same(outcomes(folder), undisturbed)


def test_a_second_driver_says_who_holds_the_results_and_leaves(tmp_path):
    folder = tmp_path / "run"
    config = config_in(folder)
    first = start("parsl-optuna", "--config", config, "--local")
    started(folder, 1)

    _, err = run("parsl-optuna", "--config", config, "--local", code=2)
    code, _ = end(first)

    assert f"held by process {first.pid}" in err
    assert code == 0


def test_two_drivers_with_results_of_their_own_share_the_artifacts(tmp_path, undisturbed):
    folder = tmp_path / "run"
    config = config_in(folder)
    both = [
        start("parsl-optuna", "--config", config, "--local", "--results-dir", folder / name)
        for name in ("results", "other")
    ]
    assert [end(process)[0] for process in both] == [0, 0]

    same(outcomes(folder), undisturbed)
    (folder / "results").rename(folder / "first")
    (folder / "other").rename(folder / "results")
    same(outcomes(folder), undisturbed)


def test_ctrl_c_in_a_terminal_finishes_what_runs_and_starts_nothing_of_the_queue(tmp_path, undisturbed):
    folder = tmp_path / "run"
    config = config_in(folder)
    options = ("--local", "--batch-size", "8", "--method-budget", "2")
    process = start("parsl-optuna", "--config", config, *options)
    started(folder)

    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group hears it
    code, err = end(process)

    assert code == 130
    assert "waiting for running trials" in err
    begun = [line for line in (folder / "log").read_text().splitlines() if line.startswith("guess")]
    done = [line for line in committed(folder) if "guess" in str(line)]
    assert len(done) == len(begun) < len(POINTS)
    assert not list(folder.glob("artifacts/leaving/*"))
    run("parsl-optuna", "--config", config, *options)
    same(outcomes(folder), undisturbed)


def test_ctrl_c_twice_leaves_at_once(tmp_path, undisturbed):
    folder = tmp_path / "run"
    config, log = config_in(folder, sleep_sec=1.5), folder / "log"
    process = start("parsl-optuna", "--config", config, "--local")
    wait_for(lambda: log.exists() and "guess" in log.read_text())  # a trial, which it then waits for

    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.3)
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    code, err = end(process)

    assert code == 130
    assert time.monotonic() - begun < 10
    assert "the same command continues" in err
    run("parsl-optuna", "--config", config, "--local")
    assert len(outcomes(folder)) == len(POINTS)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_full_disk_is_one_line_and_room_cures_it(tmp_path, undisturbed):
    folder, small = tmp_path / "run", tmp_path / "run" / "artifacts"
    config = config_in(folder)
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("no mount in this sandbox")
    try:
        process = start("parsl-optuna", "--config", config, "--local")
        code, err = end(process)
        assert code == 2
        assert "No space left on device" in err
        subprocess.run(["mount", "-o", "remount,size=16m", str(small)], check=True)
        run("parsl-optuna", "--config", config, "--local")
        same(outcomes(folder), undisturbed)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_trial_that_finds_the_disk_full_runs_again_when_there_is_room(tmp_path):
    folder, small = tmp_path / "run", tmp_path / "run" / "artifacts"
    small.mkdir(parents=True)
    text = (
        "def f(x):\n    with open('model', 'wb') as stream:\n"
        "        stream.write(bytes(3 << 20))\n    return {'loss': x}\n"
    )
    (folder / "f.py").write_text(text)
    config = write_config(
        folder,
        task="function",
        problems=[{"function": "f.py:f"}],
        methods=None,
        search_space={"function": {"x": {"low": 0.0, "high": 1.0}}},
        optuna={"max_trials": 4, "batch_size": 1, "confirm": 0},
    )
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("no mount in this sandbox")
    try:
        _, err = run("parsl-optuna", "--config", config, "--inline", cwd=folder, code=2)
        assert "No space left on device" in err
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        run("parsl-optuna", "--config", config, "--inline", cwd=folder)
        assert list(pd.read_parquet(folder / "results" / "optuna_trials.parquet")["state"]) == ["ok"] * 4
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_wall_clock_that_jumps_back_changes_nothing(tmp_path, undisturbed):
    folder = tmp_path / "run"
    config = config_in(folder)
    run("parsl-optuna", "--config", config, "--local", "--max-trials", 4)
    for path in folder.glob("artifacts/runs/*/*/*/manifest.json"):
        data = document.read(path)
        document.write(path, data | {"asked": data["asked"] | {"at": "2031-01-01T00:00:00.000Z"}})

    run("parsl-optuna", "--config", config, "--local")

    same(outcomes(folder), undisturbed)
    assert yaml.safe_load((folder / "results" / "optuna_trials_config.yaml").read_text())["limits"]


SAMPLE = ("every process", "fork server, starting", "trial, starting", "EIO")
"""The tests above have most of the others, and the slow form has all."""


@pytest.mark.parametrize(
    ("n_rounds", "kinds"), [(len(SAMPLE), SAMPLE), pytest.param(18, (), marks=pytest.mark.slow)]
)
def test_a_small_form_of_the_chaos_benchmark(tmp_path, n_rounds, kinds):
    only = [word for kind in kinds for word in ("--only", kind)]
    words = ["--rounds", str(n_rounds), "--seed", "3", "--folder", str(tmp_path / "chaos"), *only]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{n_rounds} rounds, seed 3" in done.stdout
