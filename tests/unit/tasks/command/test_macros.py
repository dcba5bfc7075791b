import json

import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.command.macros import check, expand

PARAMS = {"lr": 0.1, "flag": True, "off": False, "net": {"depth": 2}}


def filled(*words):
    return expand(
        words, PARAMS, interpreter="python", json_file="/x/p.json", environment={"HOME": "/home/me"}
    )


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("${env}", ["/usr/bin/env"]),
        ("${interpreter}", ["python"]),
        ("${args}", ["--lr=0.1", "--flag=True", "--off=False", "--net={'depth': 2}"]),
        ("${args_no_hyphens}", ["lr=0.1", "flag=True", "off=False", "net={'depth': 2}"]),
        ("${args_no_boolean_flags}", ["--lr=0.1", "--flag", "--net={'depth': 2}"]),
        ("${args_json_file}", ["/x/p.json"]),
        ("${envvar:HOME}/data", ["/home/me/data"]),
        ("${envvar:NONE}", [""]),
        ("plain $HOME", ["plain $HOME"]),
        ("run ${args_no_hyphens}", ["run lr=0.1 flag=True off=False net={'depth': 2}"]),
    ],
)
def test_every_macro_is_filled_in(word, expected):
    assert filled(word) == expected


def test_json_is_one_word_that_reads_back():
    (word,) = filled("${args_json}")

    assert json.loads(word) == PARAMS


def test_an_unknown_macro_is_told():
    check(["${args}", "${envvar:X}"], "f")
    with pytest.raises(SpecError, match="did you mean 'args'"):
        check(["${arg}"], "f")
