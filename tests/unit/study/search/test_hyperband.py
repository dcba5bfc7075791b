import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.study.search.hyperband import HyperbandSettings, WandbHyperband


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        (HyperbandSettings(min_iter=500), [500, 1500]),
        (HyperbandSettings(max_iter=2500, s=2), [277, 833]),
        (HyperbandSettings(min_iter=1, eta=2), [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]),
        (HyperbandSettings(max_iter=9, s=5), [1, 3]),
    ],
)
def test_brackets_are_those_of_the_two_forms(bands, expected):
    assert bands.brackets(3000) == expected


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "either min_iter, or max_iter"),
        ({"min_iter": 3, "max_iter": 9, "s": 1}, "either min_iter, or max_iter"),
        ({"max_iter": 9}, "go together"),
        ({"min_iter": 0}, "at least 1"),
        ({"min_iter": 3, "eta": 1.0}, "above 1"),
    ],
)
def test_mistakes_are_told(keys, message):
    with pytest.raises(SpecError, match=message):
        HyperbandSettings(**keys)


def rule(**keys):
    return WandbHyperband(HyperbandSettings(**keys))


def feed(pruner, histories):
    for name, values in histories.items():
        for step, value in enumerate(values):
            pruner.report(name, step, value)


def test_with_few_runs_only_the_best_goes_on():
    pruner = rule(min_iter=2)
    feed(pruner, {"a": [5, 1], "b": [5, 2]})

    assert pruner.reason_to_stop("a") is None
    assert "2 after 2 values" in pruner.reason_to_stop("b")


def test_the_best_share_goes_on():
    pruner = rule(min_iter=1)
    feed(pruner, {str(i): [float(i)] for i in range(6)})

    # sorted(values)[int(6 / 3)] = 2: the three at most as large go on.
    assert [name for name in map(str, range(6)) if pruner.reason_to_stop(name)] == ["3", "4", "5"]


def test_a_run_that_has_not_reached_a_bracket_is_left_alone():
    pruner = rule(min_iter=3)
    feed(pruner, {"a": [1, 1, 1], "b": [9, 9]})

    assert pruner.reason_to_stop("b") is None
    assert pruner.reason_to_stop("never seen") is None


def test_what_counts_is_the_best_value_so_far_or_with_strict_the_one_at_the_bracket():
    histories = {"a": [3, 3], "b": [1, 9]}
    lenient, strict = rule(min_iter=2), rule(min_iter=2, strict=True)
    feed(lenient, histories)
    feed(strict, histories)

    assert lenient.reason_to_stop("b") is None
    assert strict.reason_to_stop("b") is not None


def test_steps_that_a_restarted_run_repeats_count_once():
    pruner = rule(min_iter=3)
    feed(pruner, {"a": [1, 1, 1]})
    feed(pruner, {"b": [9, 9]})
    feed(pruner, {"b": [9, 9]})

    assert pruner.reason_to_stop("b") is None


def test_ended_runs_go_on_counting():
    pruner = rule(min_iter=1)
    feed(pruner, {"a": [1.0], "b": [2.0]})
    pruner.end("a", 1.0)

    assert pruner.reason_to_stop("b") is not None
