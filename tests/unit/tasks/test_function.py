import pytest
from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import SpecError, TaskError
from parsl_optuna.tasks.base import Work, run_task
from parsl_optuna.tasks.function import TASK, as_metrics

CODE = """
import helper

def add(x, y=2, *, kind="plain", report, scale=1.0 + 1.0):
    report(1, {"loss": x})
    return {"loss": helper.twice(x) + y, "kind": kind, "scale": scale}

def number(x):
    return x

def text(x):
    return "x"

def open_ended(**params):
    return float(len(params))

def positional(*values):
    return 0.0
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "f.py").write_text(CODE)
    (tmp_path / "helper.py").write_text("def twice(x):\n    return 2 * x\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def work_on(problem, **params):
    told = []
    complete = TASK.complete(problem, "function", params, "p $")
    return Work(
        problem, "function", complete, 1, Deadline(5), None, report=lambda *report: told.append(report)
    ), told


def test_arguments_are_hyperparameters_and_what_the_engine_lends_is_not(folder):
    problem = TASK.resolve({"function": "f.py:add"}, "p $")
    work, told = work_on(problem, x=3)

    assert work.params == {"x": 3, "y": 2, "kind": "plain"}
    assert run_task(TASK, work) == {"loss": 8, "kind": "plain", "scale": 2.0}
    assert told == [(1, {"loss": 3})]


def test_a_number_is_the_loss_and_anything_else_an_error(folder):
    number = TASK.resolve({"function": "f.py:number"}, "p $")
    text = TASK.resolve({"function": "f.py:text"}, "p $")

    assert run_task(TASK, work_on(number, x=3)[0]) == {"loss": 3.0}
    with pytest.raises(TaskError, match="returned a str"):
        run_task(TASK, work_on(text, x=3)[0])


def test_constants_come_from_the_problem(folder):
    problem = TASK.resolve({"function": "f.py:add", "args": {"x": 5}}, "p $")

    assert run_task(TASK, work_on(problem)[0])["loss"] == 12
    with pytest.raises(SpecError, match="is a constant in args already"):
        TASK.complete(problem, "function", {"x": 1}, "p $")


def test_open_arguments_take_any_name(folder):
    problem = TASK.resolve({"function": "f.py:open_ended"}, "p $")

    assert run_task(TASK, work_on(problem, a=1, b=2)[0]) == {"loss": 2.0}


def test_the_identity_is_the_content_and_an_edit_during_the_run_is_noticed(folder):
    problem = TASK.resolve({"function": "f.py:number"}, "p $")
    (folder / "f.py").write_text(CODE + "\n# edited\n")

    assert TASK.resolve({"function": "f.py:number"}, "p $") != problem
    with pytest.raises(TaskError, match="was edited since"):
        run_task(TASK, work_on(problem, x=1)[0])


def test_an_argument_without_a_value_is_named(folder):
    problem = TASK.resolve({"function": "f.py:number"}, "p $")

    with pytest.raises(TaskError, match="'x' has no value"):
        run_task(TASK, work_on(problem)[0])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"function": "f.py"}, r"p \$\.function: 'f.py' must be FILE.py:NAME"),
        ({"function": "g.py:add"}, "no file 'g.py'"),
        ({"function": "f.py:ad"}, "did you mean 'add'"),
        ({"function": "f.py:positional"}, "takes positional arguments"),
        ({"function": "f.py:add", "args": {"z": 1}}, r"p \$\.args\.z: no such argument"),
    ],
)
def test_mistakes_have_their_place(folder, raw, message):
    with pytest.raises(SpecError, match=message):
        TASK.resolve(raw, "p $")


def test_an_unknown_argument_is_told_with_the_nearest(folder):
    problem = TASK.resolve({"function": "f.py:add"}, "p $")

    with pytest.raises(SpecError, match="did you mean 'kind'"):
        TASK.complete(problem, "function", {"kin": 1}, "p $")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("async def f(x): return x", "an async function"),
        ("class f: pass", "a class"),
        ("f = lambda x: x", "a variable"),
        ("if True:\n    def f(x): return x", "a function inside of something else"),
        ("from math import sqrt as f", "imported from elsewhere"),
    ],
)
def test_a_name_that_is_no_plain_function_is_called_what_it_is(tmp_path, monkeypatch, text, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "o.py").write_text(text)

    with pytest.raises(SpecError, match=f"'f' in .* is {what}; give a function written with def"):
        TASK.resolve({"function": "o.py:f"}, "p $")


def test_two_keys_of_one_name_are_told():
    with pytest.raises(TaskError, match="the keys 1 and '1' are one name"):
        as_metrics({"loss": 1.0, 1: 2.0, "1": 3.0})
