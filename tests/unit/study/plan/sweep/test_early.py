import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.study.plan.sweep.early import read_bands


def read(has_metric=True, **keys):
    notes = []
    bands = read_bands({"type": "hyperband"} | keys, "f $.early_terminate", notes, has_metric=has_metric)
    return bands and bands.brackets(100), notes


@pytest.mark.parametrize(
    ("keys", "brackets", "note"),
    [
        ({"min_iter": 2, "eta": 2, "s": 3}, [2, 4, 8, 16, 32, 64], "s has no effect beside min_iter"),
        ({"min_iter": 3}, [3, 9, 27, 81], None),
        ({"max_iter": 81, "s": 2}, [9, 27], None),
        ({"max_iter": 27, "s": 2, "eta": 3, "min_iter": 5}, [3, 9], "min_iter has no effect beside max_iter"),
        ({"min_iter": 30, "max_iter": 90}, [30, 90], "max_iter has no effect beside min_iter"),
        ({"min_iter": 60, "patience": 3}, [60], "no effect: patience"),
        ({"max_iter": 27, "eta": 3}, None, "max_iter goes with s, the number of brackets"),
        ({"max_iter": 2, "s": 2}, None, "max_iter / eta is below 1"),
        ({"eta": 3}, None, "it needs min_iter, or max_iter with s"),
        ({"type": "median"}, None, "type must be hyperband, not median"),
        ({"min_iter": 3, "has_metric": False}, None, "the file names none"),
    ],
)
def test_brackets_are_wandbs_and_what_it_ignores_is_noted(keys, brackets, note):
    found, notes = read(**keys)

    assert found == brackets
    assert (note is None and notes == []) or (note is not None and note in " ".join(notes))


@pytest.mark.parametrize(
    ("keys", "message"),
    [({"min_iter": 0}, "min_iter 0 must be at least 1"), ({"min_iter": "x"}, "whole number")],
)
def test_a_value_that_makes_no_bracket_is_refused(keys, message):
    with pytest.raises(SpecError, match=message):
        read(**keys)
