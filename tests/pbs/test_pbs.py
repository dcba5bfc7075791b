"""Whole studies through the PBS configuration and a stand-in server; see standin.py for how far it goes."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tests.e2e.command import run, start, write_config
from tests.e2e.test_resume import committed
from tests.waiting import wait_for

pytestmark = pytest.mark.system

PBS = ("--parsl-config", "pbs")
BLOCK = {"partition": "workq", "cores": 1, "walltime": "00:10:00", "poll_sec": 1, "heartbeat_sec": 2}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The folder of a server's state; its programs are first on the path."""
    state, programs = tmp_path / "server", tmp_path / "bin"
    state.mkdir()
    programs.mkdir()
    for name in ("qsub", "qstat", "qdel", "qselect", "pbsdsh"):
        shutil.copy(Path(__file__).with_name("standin.py"), programs / name)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PBS_STANDIN", str(state))
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    yield state
    (state / "hold").unlink(missing_ok=True)
    for job in jobs(state):
        subprocess.run(["qdel", job["id"]], check=False, capture_output=True)


def jobs(state):
    return [json.loads(path.read_text()) for path in sorted(state.glob("*.json"))]


def living(state):
    return [job["id"] for job in jobs(state) if job["job_state"] != "F"]


def running(state):
    return [job["id"] for job in jobs(state) if job["job_state"] == "R"]


def config(folder, sleep_sec=0.3, trials=8, **block):
    problem = {"truth": 1.0, "sleep_sec": sleep_sec, "log": str(folder / "log")}
    budgets = {
        "max_trials": trials,
        "batch_size": 4,
        "confirm": 0,
        "method_budget_sec": 30,
        "hmc_budget_sec": 30,
    }
    return write_config(folder, problems=[problem], optuna=budgets, cluster=BLOCK | block)


def function_config(folder, text, points, **block):
    """Write a study of a function of *x*, at given points."""
    (folder / "f.py").write_text(text)
    return write_config(
        folder,
        task="function",
        problems=[{"function": "f.py:f"}],
        methods=None,
        search_space={"function": {"x": {"low": 0.0, "high": 100.0}}},
        enqueue={"function": [{"x": x} for x in points]},
        optuna={"max_trials": len(points), "batch_size": 8, "confirm": 0, "method_budget_sec": 60},
        cluster=BLOCK | block,
    )


def rows(folder):
    return pd.read_parquet(folder / "results" / "optuna_trials.parquet")


def failing(folder, path, **block):
    """Run a study that cannot begin; return what it says."""
    settings = [word for name, value in block.items() for word in ("--set", f"{name}={value}")]
    begun = time.monotonic()
    _, err = run("parsl-optuna", "--config", path, *PBS, *settings, code=2)
    assert time.monotonic() - begun < 60
    return err


@pytest.mark.parametrize("switch", [None, "history", "only_first"])
def test_a_whole_study_runs_in_jobs_whatever_qstat_leaves_out(tmp_path, server, switch):
    if switch:
        (server / switch).touch()
    path = config(tmp_path, 1.0, max_blocks=2)

    run("parsl-optuna", "--config", path, *PBS, timeout=200)

    assert list(rows(tmp_path)["state"]) == ["ok"] * 8
    assert len(jobs(server)) <= 2  # no block was submitted twice
    wait_for(lambda: not running(server))
    assert "#PBS -r n" in jobs(server)[0]["text"]


def test_a_server_that_does_not_answer_for_a_while_costs_nothing(tmp_path, server):
    process = start("parsl-optuna", "--config", config(tmp_path, 1.0, max_blocks=2), *PBS)
    wait_for(lambda: len(committed(tmp_path)) > 1)
    (server / "silent").touch()
    wait_for(lambda: len(committed(tmp_path)) > 4)
    (server / "silent").unlink()
    _, err = process.communicate(timeout=200)

    assert process.returncode == 0, err
    assert len(jobs(server)) == 2


@pytest.mark.parametrize("words", [["qdel"], ["qdel", "-x"]])
def test_a_deleted_job_costs_no_trial(tmp_path, server, words):
    process = start("parsl-optuna", "--config", config(tmp_path, 1.0), *PBS)
    wait_for(lambda: len(committed(tmp_path)) > 2)

    subprocess.run([*words, *running(server)], check=True)
    _, err = process.communicate(timeout=200)

    assert process.returncode == 0, err
    assert list(rows(tmp_path)["state"]) == ["ok"] * 8


def test_programs_with_relative_paths_run_where_the_command_was_started(tmp_path, server):
    text = "from pathlib import Path\ndef f(x):\n    return {'loss': float(Path('beside.txt').read_text())}\n"
    path = function_config(tmp_path, text, [1.0, 2.0])
    (tmp_path / "beside.txt").write_text("3.5")

    # Trials may have folders of their own; the launch folder is in a variable.
    launch = "import os\nos.chdir(os.environ['PARSL_OPTUNA_LAUNCH_DIR'])\n"
    (tmp_path / "f.py").write_text(launch + text)
    run("parsl-optuna", "--config", path, *PBS, cwd=tmp_path, timeout=100)

    assert list(rows(tmp_path)["objective"]) == [3.5, 3.5]


def test_a_block_of_two_nodes_uses_both(tmp_path, server):
    nodes = tmp_path / "nodes"
    path = config(tmp_path, 1.0, nodes=2, worker_init=f"echo $STANDIN_NODE >>{nodes}")

    run("parsl-optuna", "--config", path, *PBS, timeout=200)

    assert sorted(nodes.read_text().split()) == ["n1", "n2"]
    assert list(rows(tmp_path)["state"]) == ["ok"] * 8


def test_without_cores_whole_nodes_are_asked_for(tmp_path, server):
    run("parsl-optuna", "--config", config(tmp_path, trials=1, cores=None), *PBS, timeout=100)

    assert "#PBS -l place=excl" in jobs(server)[0]["text"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"qos": "high"}, "cluster.qos: PBS has none"),
        ({"gpus": "a100:4"}, "cluster.gpus: PBS knows no types; use gpus: 4"),
        ({"constraint": "fast"}, "on PBS it must be name=value"),
        ({"partition": "nowhere"}, "Unknown queue"),
        ({"walltime": "'00:00:20'"}, "one may take 60 s with grace, and cluster.walltime is 00:00:20, 20 s"),
    ],
)
def test_what_pbs_cannot_give_is_one_line(tmp_path, server, setting, words):
    err = failing(tmp_path, config(tmp_path), **setting)

    assert err.count(words) == 1
    assert not living(server)


def test_a_job_that_can_never_start_ends_the_command_with_the_words_of_the_server(tmp_path, server):
    err = failing(tmp_path, config(tmp_path), cores=64)

    assert "can never start: Can Never Run: Insufficient amount of resource: ncpus" in err
    assert "lower cores" in err
    assert not living(server)


def test_a_block_that_fails_at_its_start_is_told_once_with_its_output(tmp_path, server):
    err = failing(tmp_path, config(tmp_path, worker_init="echo no such module; exit 7"))

    assert err.count("ended at its start, exit status 7") == 1
    assert "block-0.out ends with" in err
    assert "no such module" in err
    assert len(jobs(server)) == 1


def test_held_blocks_are_not_replaced(tmp_path, server):
    (server / "hold").touch()
    process = start("parsl-optuna", "--config", config(tmp_path, max_blocks=2), *PBS)
    wait_for(lambda: living(server))
    time.sleep(4)  # several polls
    assert len(jobs(server)) == 1

    (server / "hold").unlink()
    _, err = process.communicate(timeout=200)

    assert process.returncode == 0, err
    assert "release it with qrls" in err
    assert len(jobs(server)) <= 2


def test_a_program_ends_with_its_job(tmp_path, server):
    pid = tmp_path / "pid"
    text = (
        "import subprocess, pathlib\ndef f(x):\n"
        "    program = subprocess.Popen(['sleep', '300'])\n"
        f"    pathlib.Path({str(pid)!r}).write_text(str(program.pid))\n"
        "    program.wait()\n    return {'loss': x}\n"
    )
    process = start("parsl-optuna", "--config", function_config(tmp_path, text, [1.0]), *PBS, cwd=tmp_path)
    wait_for(pid.exists)
    program = psutil.Process(int(wait_for(pid.read_text)))

    os.killpg(process.pid, signal.SIGSTOP)  # so that it does not start the trial again
    subprocess.run(["qdel", *running(server)], check=True)

    with contextlib.suppress(psutil.NoSuchProcess):
        program.wait(timeout=10)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_idle_blocks_go_back_while_others_work(tmp_path, server):
    text = "import time\ndef f(x):\n    time.sleep(x)\n    return {'loss': x}\n"
    path = function_config(tmp_path, text, [0.1, 0.2, 0.3, 25.0], max_blocks=2, cores=2, idle_sec=2)

    process = start("parsl-optuna", "--config", path, *PBS, cwd=tmp_path)
    wait_for(lambda: len(running(server)) == 2)
    wait_for(lambda: len(running(server)) == 1)
    assert process.poll() is None
    _, err = process.communicate(timeout=100)

    assert process.returncode == 0, err
    assert len(jobs(server)) == 2


def test_two_terminations_in_a_row_leave_no_job(tmp_path, server):
    (server / "hold").touch()
    process = start("parsl-optuna", "--config", config(tmp_path, 5.0), *PBS)
    wait_for(lambda: living(server))

    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)

    assert process.returncode == 130
    assert not living(server)


def test_interrupting_gives_back_what_has_not_started(tmp_path, server):
    (server / "hold").touch()
    process = start("parsl-optuna", "--config", config(tmp_path, 5.0), *PBS)
    wait_for(lambda: living(server))

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)

    assert process.returncode == 130
    assert not living(server)


def test_the_next_driver_cancels_what_a_dead_one_left(tmp_path, server):
    (server / "hold").touch()
    path = config(tmp_path, 0.3)
    process = start("parsl-optuna", "--config", path, *PBS)
    (left,) = wait_for(lambda: living(server))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert living(server) == [left]

    (server / "hold").unlink()
    run("parsl-optuna", "--config", path, *PBS, timeout=200)

    assert list(rows(tmp_path)["state"]) == ["ok"] * 8
    events = (tmp_path / "results" / "events.jsonl").read_text()
    assert re.search(rf'"job": "{left}", "reason": "left by a driver that died"', events)


def test_what_is_asked_for_stands_in_the_submit_script(tmp_path, server):
    path = config(
        tmp_path,
        trials=1,
        gpus=2,
        memory_gb=7,
        worker_init="export FROM_INIT=1",
        options=["#PBS -j oe", "-p 5"],
    )

    run("parsl-optuna", "--config", path, *PBS, "--set", "constraint=speed=fast", timeout=100)

    script = jobs(server)[0]["text"]
    assert "#PBS -l select=1:ncpus=1:ngpus=2:mem=7gb:speed=fast" in script
    for words in ("#PBS -l walltime=00:10:00", "#PBS -j oe", "#PBS -p 5"):
        assert words in script
    assert "FROM_INIT" in Path(jobs(server)[0]["script"].replace(".sh", ".pool.sh")).read_text()


def submitted(folder, path, walltime, stop):
    """Submit the driver of a study as a job."""
    options = ["--on", "pbs", "--walltime", walltime, "--stop", stop, "--partition", "workq"]
    options += ["--folder", folder / "sub mitted"]
    return run("parsl-optuna", "submit", *options, "--", "run", "--config", path, *PBS)[0]


def test_a_driver_in_a_job_submits_itself_again_until_the_study_is_done(tmp_path, server):
    path = config(tmp_path, 1.5, 30)

    out = submitted(tmp_path, path, "00:01:20", 40)
    wait_for(lambda: not living(server), 300)

    assert out.splitlines()[0] == "job     1.pbshost"
    assert list(rows(tmp_path)["state"]) == ["ok"] * 30
    starts = (tmp_path / "results" / "events.jsonl").read_text().count('"command_started"')
    assert starts > 1
    assert len([job for job in jobs(server) if job["name"].startswith("driver-")]) == starts


def test_a_driver_whose_job_is_deleted_gives_back_its_blocks(tmp_path, server):
    submitted(tmp_path, config(tmp_path, 5.0, 20), "00:10:00", 60)
    wait_for(lambda: len(running(server)) == 2 and committed(tmp_path))

    subprocess.run(["qdel", "1.pbshost"], check=True)

    wait_for(lambda: not living(server), 30)
