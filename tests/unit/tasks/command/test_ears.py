"""What lines of a program count."""

import pytest
from parsl_optuna.core.clock import Deadline
from parsl_optuna.tasks.base import Work
from parsl_optuna.tasks.command.ears import Ears


def heard(*lines):
    work = Work({}, "command", {}, 1, Deadline(20), None, report=lambda step, metrics: None)
    ears = Ears(work, [])
    for line in lines:
        ears.line(line.encode())
    return ears


@pytest.mark.parametrize(
    "last", ['{"loss": nan}', '{"step": 2, "loss": -inf}', '{"loss": 0,4}', '{"loss": 0.']
)
def test_a_last_line_that_is_unreadable_is_told_by_its_metric(last):
    assert "the last line with 'loss' begins like JSON" in str(heard('{"loss": 0.5}', last).outdated)


def test_the_words_of_json_are_told_where_a_value_has_others():
    assert "NaN and Infinity" in str(heard('{"loss": 0.5}', '{"loss": nan}').outdated)


def test_a_readable_line_after_it_counts():
    ears = heard('{"loss": 0.5}', '{"loss": nan}', '{"loss": 0.25}')

    assert ears.outdated is None
    assert ears.metrics == {"loss": 0.25}


@pytest.mark.parametrize("other", ['{"note: nan}', "{'loss': 0.4}", "{done}"])
def test_a_line_without_the_metric_in_quotes_leaves_it_as_it_is(other):
    assert heard('{"loss": 0.5}', other).outdated is None
