import math

import pytest
from parsl_optuna.core.constraint import Constraint, excess, parse, parse_all, parse_whole
from parsl_optuna.core.errors import SpecError


@pytest.mark.parametrize(
    ("text", "value", "violation"),
    [
        ("<= 16", 20.0, 4.0),
        ("<= 16", 16, 0.0),
        (">= 0.9", 0.5, 0.4),
        (">= 0.9", 1, -0.1),
        ("<=1e-3", 0.0, -1e-3),
        ("== ok", "ok", 0.0),
        ("== ok", "uncertain", 1.0),
        ("== true", True, 0.0),
        ("== true", 1, 1.0),
        ("<= 16", None, math.inf),
        ("<= 16", "8", math.inf),
        ("<= 16", True, math.inf),
        ("<= 16", math.nan, math.inf),
        ("== ok", None, math.inf),
    ],
)
def test_a_violation(text, value, violation):
    assert parse("m", text).violation({"m": value}) == pytest.approx(violation)


@pytest.mark.parametrize(
    "text", ["m <= 16", "m >= 0.1", "m == ok", "m == true", "a/b <= 1e-07", "m <= 0.30000000000000004"]
)
def test_the_text_of_a_constraint_is_read_as_the_same(text):
    assert parse_whole(parse_whole(text).text) == parse_whole(text)


def test_a_mapping_and_a_list_say_the_same():
    as_mapping = parse_all({"memory_gb": "<= 16", "acc": [">= 0.1", "<= 0.9"]})

    assert as_mapping == parse_all(["memory_gb <= 16", "acc >= 0.1", "acc <= 0.9"])
    assert as_mapping[0] == Constraint("memory_gb", "<=", 16.0)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"m": 16}, "constraints.m: must be a sign and a value, such as '<= 16'.*got 16"),
        ({"m": "< 16"}, "constraints.m: .*; write <="),
        ({"m": "> 16"}, "write >="),
        ({"m": "=< 16"}, "write <="),
        ({"m": "= ok"}, "write =="),
        ({"m": "!= ok"}, "there is no such sign"),
        ({"m": "<="}, "has no value behind <="),
        ({"m": "<= many"}, "must be a finite number"),
        ({"m": "<= inf"}, "must be a finite number"),
        ({"m": "== 3"}, "one bound with <=, one with >="),
        ({"m": ["<= 3", "4"]}, "constraints.m: must be a sign"),
        (["memory_gb"], r"constraints\[0\]: must be a metric, a sign and a value"),
        (["<= 16"], r"constraints\[0\]: must be a metric"),
        ("memory_gb <= 16", "constraints must be a mapping"),
    ],
)
def test_other_forms_are_refused(raw, words):
    with pytest.raises(SpecError, match=words):
        parse_all(raw)


def test_what_is_met_does_not_make_up_for_what_is_missed():
    assert excess([-5.0, 1.0, 2.0]) == 3.0
    assert excess([-5.0, 0.0]) == 0.0
