"""What lines of a program count."""

import pytest
from parsl_optuna.core.clock import Deadline
from parsl_optuna.tasks.base import Work
from parsl_optuna.tasks.command.ears import Ears


def heard(*lines, **problem):
    work = Work(problem, "command", {}, 1, Deadline(20), None, report=lambda step, metrics: None)
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


STEP, SUMMARY = '{"loss": 1, "_step": 0}', '{"_summary": {"loss": 2}}'
OF_DISABLED = '{"loss": 7, "other": 3, "_step": 0, "_disabled": true}'


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([STEP, '{"loss": "mse", "lr": 0.1}'], {"loss": 1, "lr": 0.1}),
        (['{"loss": 5}', STEP], {"loss": 1}),
        ([STEP, SUMMARY, '{"loss": 5}'], {"loss": 2}),
    ],
)
def test_what_wandb_logs_counts_before_what_is_printed(lines, expected):
    assert heard(*lines).metrics == expected


def test_what_is_printed_is_no_better_value_than_what_wandb_logs():
    assert heard('{"loss": 0.5}', STEP, best={"loss": "minimize"}).metrics == {"loss": 1}


def test_an_unreadable_line_of_a_metric_that_wandb_logs_is_nothing():
    assert heard(STEP, '{"loss": nan}').outdated is None


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([OF_DISABLED], {"loss": 7, "other": 3}),
        ([OF_DISABLED, STEP], {"loss": 1}),
        ([STEP, OF_DISABLED], {"loss": 1}),
        ([OF_DISABLED, STEP, OF_DISABLED, SUMMARY], {"loss": 2}),
    ],
)
def test_a_disabled_run_counts_where_no_other_logs(lines, expected):
    assert heard(*lines).metrics == expected
