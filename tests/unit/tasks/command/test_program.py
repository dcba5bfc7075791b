"""Programs that leave processes, print without end, or do not end."""

import time

import psutil
import pytest
from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import TaskError
from parsl_optuna.tasks.base import Work, run_task
from parsl_optuna.tasks.command import TASK

HEAD = "import json, os, signal, subprocess, sys, time\n"


@pytest.fixture
def loss_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(text, metrics_file=None):
        (tmp_path / "p.py").write_text(HEAD + text)
        problem = TASK.resolve({"command": "python p.py", "metrics_file": metrics_file}, "p $")
        return run_task(TASK, Work(problem, "command", {}, 1, Deadline(20), None))["loss"]

    return run


def sleepers(seconds):
    found = psutil.process_iter(["cmdline", "status"])
    return [
        one for one in found if one.info["cmdline"] == ["sleep", seconds] and one.info["status"] != "zombie"
    ]


def test_the_end_of_the_program_is_the_end_of_the_trial(loss_of):
    begun = time.monotonic()

    assert loss_of("subprocess.Popen(['sleep', '63'])\nprint(json.dumps({'loss': 1.0}))") == 1.0

    assert time.monotonic() - begun < 30
    assert sleepers("63") == []


@pytest.mark.parametrize(
    "text",
    [
        "print('\\x1b[31m{\"loss\": 1.0}\\x1b[0m')",
        "sys.stdout.buffer.write(b'\\xef\\xbb\\xbf{\"loss\": 1.0}\\n')",
        "sys.stdout.write('{\"loss\": 1.0}\\r\\n')",
        "sys.stdout.write('x' * 20_000_000); print(); print('{\"loss\": 1.0}')",
        "sys.stdout.buffer.write(os.urandom(5_000_000)); print('\\n{\"loss\": 1.0}')",
        "print('{\"loss\": 1.0}', end='')",
    ],
)
def test_a_line_is_read_whatever_is_around_it(loss_of, text):
    assert loss_of(text) == 1.0


def test_a_line_that_is_nearly_json_is_told(loss_of):
    with pytest.raises(TaskError, match="a line that begins like JSON is none: it is nested too deeply"):
        loss_of("print('{\"a\":' + '[' * 100000 + ']' * 100000 + '}')")


def test_a_program_that_dies_of_a_signal_says_which(loss_of):
    with pytest.raises(TaskError, match="ended by SIGSEGV"):
        loss_of("print('{\"loss\": 1.0}', flush=True); os.kill(os.getpid(), signal.SIGSEGV)")


def test_a_program_finds_its_neighbours_and_its_inputs_from_its_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helper.py").write_text("K = 2.0")
    (tmp_path / "data.txt").write_text("3.0")
    (tmp_path / "p.py").write_text(
        HEAD + "from helper import K\nfrom pathlib import Path\n"
        "print(json.dumps({'loss': K * float(open('data.txt').read()), 'here': os.getcwd(),"
        " 'script': str(Path(__file__).parent), 'launch': os.environ['PARSL_OPTUNA_LAUNCH_DIR']}))"
    )
    problem = TASK.resolve({"command": "python p.py", "files": ["data.txt"]}, "p $")
    files = tmp_path / "trial" / "files"
    files.mkdir(parents=True)
    work = Work(problem, "command", {}, 1, Deadline(20), None, files=files, launch=tmp_path)
    monkeypatch.chdir(files)

    metrics = run_task(TASK, work)

    assert metrics == {"loss": 6.0, "here": str(files), "script": str(tmp_path), "launch": str(tmp_path)}
