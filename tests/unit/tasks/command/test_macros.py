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
        ("${envvar:NONE}", ["NONE"]),
        ("${envvar:low}", ["${envvar:low}"]),
        ("runs/${now:%Y}/${hydra.job.num}", ["runs/${now:%Y}/${hydra.job.num}"]),
        ("${args_no_equals}", ["--lr", "0.1", "--flag", "True", "--off", "False", "--net", "{'depth': 2}"]),
        ("${args_append_hydra}", ["+lr=0.1", "+flag=True", "+off=False", "+net={'depth': 2}"]),
        ("${args_override_hydra}", ["++lr=0.1", "++flag=True", "++off=False", "++net={'depth': 2}"]),
        ("plain $HOME", ["plain $HOME"]),
        ("run ${args_no_hyphens}", ["run lr=0.1 flag=True off=False net={'depth': 2}"]),
    ],
)
def test_every_macro_is_filled_in(word, expected):
    assert filled(word) == expected


def test_json_is_one_word_that_reads_back():
    (word,) = filled("${args_json}")

    assert json.loads(word) == PARAMS


def test_in_a_sweep_a_macro_inside_a_word_is_text_but_for_variables():
    words = expand(
        ["${args_no_hyphens}", "x/${args}", "${envvar:HOME}/${program}"],
        {"a": 1},
        interpreter="python",
        json_file="",
        environment={"HOME": "/h"},
        whole_words=True,
    )

    assert words == ["a=1", "x/${args}", "/h/${program}"]


@pytest.mark.parametrize(
    ("word", "hint"),
    [("${arg}", "did you mean 'args'"), ("${envvar:home}", "write the variable in capitals")],
)
def test_a_word_that_is_an_unknown_macro_is_told(word, hint):
    check(["${args}", "${envvar:X}", "a/${now:%Y}", "${HOME} ${x}"], "f")
    with pytest.raises(SpecError, match=hint):
        check([word], "f")
