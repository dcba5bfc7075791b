import _thread
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import yaml
from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import SpecError, TaskError
from parsl_optuna.tasks.base import Work, run_task
from parsl_optuna.tasks.command import TASK
from parsl_optuna.tasks.command.run import _TEE, _hand_to_wandb, assembled, code_files


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def program(folder, text):
    (folder / "p.py").write_text(text)


def run(raw=None, **params):
    told = []
    problem = TASK.resolve({"command": "python p.py"} | (raw or {}), "p $")
    work = Work(problem, "command", params, 1, Deadline(20), None, report=lambda *one: told.append(one))
    return run_task(TASK, work), told


def test_lines_of_json_on_stdout_are_reports_and_the_last_values_the_result(here):
    program(here, """
import sys
print('hello', sys.argv[1:])
print('{"loss": 2, "acc": 0.1}')
print('{"step": 9, "loss": 1}', end='')
""")  # fmt: skip

    metrics, told = run(x=3)

    assert metrics == {"loss": 1, "acc": 0.1, "step": 9}
    assert told == [(1, {"loss": 2, "acc": 0.1}), (9, {"step": 9, "loss": 1})]


def test_an_unreadable_last_line_leaves_no_line_before_it_as_the_result(here):
    program(here, """print('{"loss": 0.5, "acc": 1}\\n{"loss": nan}')""")

    with pytest.raises(TaskError, match="the last line with 'loss' begins like JSON and is none"):
        run()


@pytest.mark.parametrize(
    "raw", [{"command": ["python", "p.py"]}, {"command": "python p.py | cat", "shell": True}]
)
def test_a_program_that_its_command_passes_nothing_to_is_told(here, raw):
    program(here, """print('{"loss": 0.5}')""")

    with pytest.raises(TaskError, match="the program got no hyperparameters"):
        run(raw, x=3)
    assert run(raw)[0] == {"loss": 0.5}  # there are none


def test_a_program_may_take_its_hyperparameters_from_wandb_alone(here):
    program(here, """
import wandb
wandb.init()
print('{"loss": %d}' % wandb.config.x)
""")  # fmt: skip

    assert run({"command": ["python", "p.py"]}, x=3)[0] == {"loss": 3}


def test_wandb_log_is_heard_without_wandb(here):
    program(here, """
import wandb
run = wandb.init(project="p", config={"x": 1, "depth": 7}, tags=["a"])
assert wandb.config.x == 5 and wandb.config["depth"] == 7, dict(wandb.config)
wandb.define_metric("loss", summary="min")
wandb.watch(None)
for step in range(3):
    wandb.log({"loss": 3 - step}, commit=False)
    wandb.log({"picture": wandb.Image("x")})
run.summary["final"] = 8.0
with wandb.Artifact("a") as artifact:
    artifact.add_file("x")
wandb.finish()
""")  # fmt: skip

    metrics, told = run(x=5)

    assert metrics == {"loss": 1, "loss.min": 1, "final": 8.0}
    assert [(step, report["loss"]) for step, report in told] == [(0, 3), (1, 2), (2, 1)]


@pytest.mark.parametrize(("goal", "best"), [("minimize", 1), ("maximize", 3)])
def test_the_best_value_counts_where_that_is_asked_for(here, goal, best):
    program(here, 'for loss in (2, 3, 1, 2): print(\'{"loss": %d, "acc": %d}\' % (loss, loss))')

    metrics, told = run({"best": {"loss": goal}})

    assert metrics == {"loss": best, "acc": 2}
    assert [report["loss"] for _, report in told] == [2, 3, 1, 2]


def test_a_file_of_json_lines_is_followed_from_where_it_was(here):
    (here / "m.jsonl").write_text('{"loss": 99}\n')
    program(here, "open('m.jsonl', 'a').write('{\"loss\": 4}\\n')")

    assert run({"metrics_file": "m.jsonl"})[0] == {"loss": 4}


@pytest.mark.parametrize(
    "how", ["os.replace('new', 'm.json')", "import shutil; shutil.copyfile('new', 'm.json')"]
)
def test_a_metrics_file_that_is_written_anew_gives_its_last_content(here, how):
    (here / "m.json").write_text('{"loss": 9}\n')
    program(here, f"""
import os, time
for loss in (3, 2, 1):
    with open('new', 'w') as stream:
        stream.write('{{"loss": %d}}\\n' % loss)
    {how}
    time.sleep(0.6)  # longer than between two looks
""")  # fmt: skip

    metrics, told = run({"metrics_file": "m.json"})

    assert metrics == {"loss": 1}
    assert [data["loss"] for _, data in told] == [3, 2, 1]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_metrics_file_may_be_one_object_without_a_last_line_end(here, indent):
    program(here, f"import json; json.dump({{'loss': 4, 'acc': 0.5}}, open('m.json', 'w'), indent={indent})")

    assert run({"metrics_file": "m.json"})[0] == {"loss": 4, "acc": 0.5}


def test_a_metrics_file_of_an_earlier_run_is_no_result(here):
    (here / "m.json").write_text('{\n  "loss": 9\n}')
    program(here, "pass")

    with pytest.raises(TaskError, match="reported no metrics"):
        run({"metrics_file": "m.json"})


@pytest.mark.parametrize("command", ["python -m package.p", "bash run.sh"])
def test_a_module_of_the_launch_folder_is_started_with_its_inputs(here, monkeypatch, command):
    (here / "package").mkdir()
    (here / "package" / "p.py").write_text("print(open('n.json').read())")
    (here / "n.json").write_text('{"loss": 3}')
    (here / "run.sh").write_text("python -m package.p\n")
    problem = TASK.resolve({"command": command}, "p $")
    files = here / "files"
    files.mkdir()
    work = Work(problem, "command", {}, 1, Deadline(20), None, launch=here, files=files)
    monkeypatch.chdir(files)

    assert run_task(TASK, work) == {"loss": 3}


def test_a_missing_input_is_told_with_where_it_is(here, monkeypatch):
    program(here, "open('a' + '.txt')")
    (here / "a.txt").write_text("")
    problem = TASK.resolve({"command": "python p.py"}, "p $")
    files = here / "files"
    files.mkdir()
    work = Work(problem, "command", {}, 1, Deadline(20), None, launch=here, files=files)
    monkeypatch.chdir(files)

    with pytest.raises(
        TaskError, match=r"'a\.txt'; trials run in folders of their own.*list it under 'files'"
    ):
        run_task(TASK, work)


def test_parameters_are_put_together_as_they_were_in_the_sweep():
    problem = {"json": ["profile"], "nested": {"opt": ["lr", "net"], "opt.net": ["depth"]}}
    params = {"opt.lr": 0.1, "opt.net.depth": 3, "profile": '{"a": 1}', "x": 2}

    expected = [("opt", {"lr": 0.1, "net": {"depth": 3}}), ("profile", {"a": 1}), ("x", 2)]
    assert list(assembled(problem, params).items()) == expected


def test_an_exit_code_is_told_with_the_last_words(here):
    program(here, "raise SystemExit('no such data')")

    with pytest.raises(TaskError, match="exit code 1: no such data"):
        run()


def test_a_program_that_says_nothing_is_told_what_to_say(here):
    program(here, "print('done')")

    with pytest.raises(TaskError, match="reported no metrics"):
        run()


def test_metrics_on_stderr_are_told_to_be_unheard(here):
    program(here, """import sys; print('{"loss": 1}', file=sys.stderr)""")

    with pytest.raises(TaskError, match="metrics on stderr are not read; print them on stdout"):
        run()


def test_a_program_that_is_not_there_is_told(here):
    with pytest.raises(TaskError, match="'no-such-program' cannot be started"):
        run({"command": ["no-such-program"]})


def test_no_shell_reads_the_words_unless_asked(here):
    program(here, "import sys, json\nprint(json.dumps({'words': str(sys.argv[1:])}))")

    assert run({"command": ["python", "p.py", "$(touch hacked); ls > x", "${args}"]}, a="`id`")[0] == {
        "words": "['$(touch hacked); ls > x', '--a=`id`']"
    }
    assert not (here / "hacked").exists()
    assert run({"command": "python p.py $((1 + 1))", "shell": True})[0] == {"words": "['2']"}


def test_edits_of_the_program_change_the_problem(here):
    program(here, "1")
    first = TASK.resolve({"command": "python p.py"}, "p $")
    program(here, "2")

    assert TASK.resolve({"command": "python p.py"}, "p $") != first
    assert list(first["files"]) == ["p.py"]


def test_a_run_that_is_given_up_takes_its_program_along(here):
    program(here, "import time\nopen('started', 'w').close()\ntime.sleep(60)")
    begun = time.monotonic()

    def interrupt():
        while not (here / "started").exists():
            time.sleep(0.05)
        _thread.interrupt_main()

    # A shell that starts the tests in the background has SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run()
    signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"command": []}, "must be a text or a list"),
        ({"command": "python 'p.py"}, "No closing quotation"),
        ({"command": "python ${arg}"}, "unknown macro"),
        ({"command": "true", "files": ["no.py"]}, "no file 'no.py'"),
        ({"comand": "true"}, "did you mean 'command'"),
    ],
)
def test_mistakes_have_their_place(here, raw, message):
    with pytest.raises(SpecError, match=message):
        TASK.resolve(raw, "p $")


def test_the_programs_python_is_this_one(here):
    program(here, "import sys, json\nprint(json.dumps({'where': sys.prefix}))")

    assert run()[0]["where"] == sys.prefix


LOGGING = """
import wandb
with wandb.init(project="p", config={"x": 1}) as run:
    assert wandb.config.x == 5, dict(wandb.config)
    for step in range(2):
        wandb.log({"loss": 2 - step}, commit=False)
        run.log({"acc": step})
    run.summary["final"] = 7
"""


def heard_by_the_tee(folder, *more_paths, **environment):
    """Run a program that logs, the tee first on its path; return what was written down."""
    program(folder, LOGGING)
    _hand_to_wandb({"x": 5}, folder)
    variables = {
        "PYTHONPATH": os.pathsep.join(map(str, [_TEE, *more_paths])),
        "WANDB_SWEEP_PARAM_PATH": str(folder / "sweep.yaml"),
        "PARSL_OPTUNA_WANDB_LOG": str(folder / "log.jsonl"),
        "PARSL_OPTUNA_SCRATCH": str(folder),
    }
    subprocess.run([sys.executable, "p.py"], cwd=folder, env=os.environ | variables | environment, check=True)
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


VALUES = [1e-05, [1e-07, {"d": 1e22}], "1e-3", "yes", "017", True, None, "\U0001f600", float("inf"), "12:30"]


def test_wandb_reads_every_value_as_it_is(tmp_path):
    """It reads YAML 1.1, to which 1e-05 as JSON writes it is a text."""
    _hand_to_wandb({"x": VALUES}, tmp_path)

    found = yaml.safe_load((tmp_path / "sweep.yaml").read_text(encoding="utf-8"))
    assert repr(found) == repr({"wandb_version": 1, "x": {"value": VALUES}})


HEARD = [
    {"loss": 2, "acc": 0, "_step": 0},
    {"loss": 1, "acc": 1, "_step": 1},
    {"_summary": {"final": 7}},
]


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_where_the_program_has_no_wandb_the_stand_in_takes_over(here):
    (here / "wandb").mkdir()  # as earlier runs leave one

    assert heard_by_the_tee(here) == HEARD


@pytest.mark.parametrize(
    ("environment", "login", "expected"),
    [
        ({}, None, "offline"),
        ({"WANDB_API_KEY": "k"}, None, None),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, None, "disabled"),
        ({}, "machine api.wandb.ai login user password k", None),
        ({}, "machine elsewhere.org login user password k", "offline"),
        ({"WANDB_BASE_URL": "https://wandb.here.org"}, "machine wandb.here.org login u password k", None),
    ],
)
def test_without_an_account_the_real_wandb_is_offline(here, environment, login, expected):
    (here / "packages" / "wandb").mkdir(parents=True)
    (here / "packages" / "wandb" / "__init__.py").write_text(
        "import os, types\nmode = os.environ.get('WANDB_MODE')\n"
        "class Run:\n    log = define_metric = finish = update = None\n"
        "Run.log = Run.define_metric = Run.finish = lambda *a: None\n"
        "init = lambda *a: None\n"
        "Summary = type('SummaryDict', (), {'update': lambda *a: None})\n"
        "sdk = types.SimpleNamespace(wandb_run=types.SimpleNamespace(Run=Run),"
        " wandb_summary=types.SimpleNamespace(SummaryDict=Summary))\n"
    )
    (here / "netrc").write_text(login or "")
    (here / "netrc").chmod(0o600)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    variables |= {"NETRC": str(here / "netrc"), "PYTHONPATH": f"{_TEE}{os.pathsep}{here / 'packages'}"}
    text = "import wandb; print(wandb.mode)"
    found = subprocess.run(
        [sys.executable, "-c", text], env=variables | environment, capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == str(expected)


def test_modules_of_a_program_are_part_of_what_it_ran_with(tmp_path):
    """A module that a program imports was edited, and the old best was shown without a word."""
    (tmp_path / "train.py").write_text("from util import K\n")
    (tmp_path / "util.py").write_text("K = 1\n")
    problem = {"command": ["python", "train.py"], "shell": False, "files": {"train.py": "0"}}

    assert sorted(path.name for path in code_files(problem, tmp_path)) == ["train.py", "util.py"]


@pytest.mark.parametrize("name", ["/tmp/m.jsonl", "../m.jsonl", "a/../../m.jsonl", ""])
def test_a_metrics_file_that_trials_would_share_is_refused(here, name):
    with pytest.raises(SpecError, match=r"metrics_file: .* inside of the trial's working folder"):
        TASK.resolve({"command": "python p.py", "metrics_file": name}, "p $")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "m.json is not in its working folder; write it there"),
        ("open('m.json', 'w').write('[{\"loss\": 1}]')", "no line of m.json is a JSON object"),
    ],
)
def test_a_metrics_file_that_tells_nothing_is_named(here, text, hint):
    program(here, text)

    with pytest.raises(TaskError, match=hint):
        run({"metrics_file": "m.json"})


def test_a_metrics_file_beside_inputs_is_none_of_an_earlier_program(here, tmp_path_factory, monkeypatch):
    program(here, "import os\nassert os.path.exists('out/data.csv')")
    (here / "out").mkdir()
    (here / "out" / "data.csv").write_text("1")
    (here / "out" / "m.jsonl").write_text('{"loss": -99}\n')
    problem = TASK.resolve({"command": "python p.py", "metrics_file": "out/m.jsonl"}, "p $")
    files = tmp_path_factory.mktemp("files")
    monkeypatch.chdir(files)

    with pytest.raises(TaskError, match=r"out/m\.jsonl is not in its working folder"):
        run_task(TASK, Work(problem, "command", {}, 1, Deadline(20), None, launch=here, files=files))
    assert (here / "out" / "m.jsonl").exists()
