import errno
from dataclasses import replace

import pytest
from parsl_optuna.core.errors import MetricNameError, TaskError
from parsl_optuna.core.records import Asked, Outcome, State
from parsl_optuna.tasks.base import resolve_task
from parsl_optuna.tasks.function import TASK
from parsl_optuna.worker.classify import checked, classify, cure_of, failed, is_of_disk, judged

ASKED = {"type": "metric", "metric": "test_acc", "names": ["error"]}


def test_a_metric_that_never_came_is_invalid_and_the_nearest_name_comes_first():
    state, reason = classify(TASK, {"epoch": 1, "test_acc ": 0.5}, ASKED)

    assert state is State.INVALID
    assert (
        reason
        == "it reported no metric 'test_acc'; it reported 'test_acc ', 'epoch'; did you mean 'test_acc '?"
    )


@pytest.mark.parametrize("value", [float("nan"), "good", None, 10**400, True])
def test_a_metric_that_is_no_finite_number_is_invalid(value):
    assert classify(TASK, {"test_acc": value}, ASKED)[0] is State.INVALID


def listed(*names):
    return {"type": "abs", "metric": None, "names": list(names)}


def test_every_metric_of_a_list_of_objectives_must_be_there():
    assert classify(TASK, {"acc": 0.5, "size": 3}, listed("acc", "size")) == (State.OK, None)
    state, reason = classify(TASK, {"acc": 0.5, "loss": 3}, listed("acc", "size"))
    assert state is State.INVALID
    assert "it reported no metric 'size'" in str(reason)


def test_a_list_of_objectives_goes_by_its_own_metrics_alone():
    assert classify(TASK, {"acc": float("nan"), "loss": 1.0}, listed("acc")) == (
        State.INVALID,
        "acc is nan",
    )
    assert classify(TASK, {"acc": 0.5, "loss": float("nan")}, listed("acc"))[0] is State.OK


def test_what_the_engine_computes_is_no_metric_that_a_trial_must_report():
    llc = resolve_task("llc")

    assert classify(llc, {"llc_hat": 1.5}, listed("score", "runtime_sec"))[0] is State.OK
    assert classify(llc, {"llc_hat": float("nan"), "elbo": 1.0}, listed("score", "elbo"))[0] is State.INVALID
    assert classify(TASK, {"loss": 1.5}, listed("score"))[0] is State.INVALID  # a metric of the user's


def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1, 2}, r"'b' cannot be stored \(set\)"),
        (b"abc", r"'b' cannot be stored \(bytes\)"),
        ("\ud800", "'b' holds a text that is not Unicode"),
        (deep(), "'b' is nested too deeply"),
        ("x" * (17 << 20), "the metrics take 17 MiB"),
    ],
)
def test_what_cannot_be_stored_is_named(value, words):
    with pytest.raises(TaskError, match=words):
        checked({"loss": 1.0, "b": value})


def test_a_name_that_the_engine_measures_is_refused():
    with pytest.raises(MetricNameError, match="runtime_sec"):
        checked({"runtime_sec": 1.0})


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (ValueError("\nfirst\nsecond"), State.FAILED, "ValueError: first"),
        (ValueError(), State.FAILED, "ValueError"),
        (TaskError("the function returned a str"), State.FAILED, "the function returned a str"),
        (RuntimeError("CUDA out of memory"), State.OUT_OF_MEMORY, "CUDA out of memory"),
        (MemoryError(), State.OUT_OF_MEMORY, "out of memory"),
        (ValueError("\ud800"), State.FAILED, r"ValueError: \ud800"),
    ],
)
def test_what_a_run_raised_is_one_line(error, state, reason):
    assert failed(error) == (state, reason)


def test_an_error_without_a_text_is_named_with_the_line_that_raised_it():
    names = {}
    exec(compile("def raises():\n    raise ValueError\n", "theirs.py", "exec"), names)

    try:
        names["raises"]()
    except ValueError as error:
        state, reason = failed(error)

    assert (state, reason) == (State.FAILED, "ValueError (theirs.py, line 2)")


def test_a_file_that_is_where_the_command_was_started_is_hinted_at(tmp_path):
    (tmp_path / "data.txt").touch()
    here = FileNotFoundError(errno.ENOENT, "No such file", "data.txt")
    nowhere = FileNotFoundError(errno.ENOENT, "No such file", "no.txt")

    assert "PARSL_OPTUNA_LAUNCH_DIR" in failed(here, tmp_path)[1]
    assert "PARSL_OPTUNA_LAUNCH_DIR" not in failed(nowhere, tmp_path)[1]


def outcome(state, **metrics):
    return Outcome("r_1", "p_1", "m", state, None, 1.0, 1.0, "2026", "2026", "host", metrics=metrics)


def test_a_trial_counts_for_the_metric_that_is_named_now():
    other = Asked(0, "2026", "search", objective=ASKED | {"metric": "loss"})
    for state in (State.OK, State.INVALID):
        assert judged(TASK, other, outcome(state, test_acc=0.5), ASKED).state is State.OK
        assert judged(TASK, other, outcome(state, loss=0.5), ASKED).state is State.INVALID


def test_a_trial_that_was_asked_for_with_the_same_metric_stays_as_it_is():
    stored = outcome(State.INVALID, test_acc=None)  # NaN, which JSON has not

    assert judged(TASK, Asked(0, "2026", "search", objective=ASKED), stored, ASKED) is stored


def test_a_trial_of_an_older_version_that_lacks_its_metric_does_not_stay_ok():
    asked = Asked(0, "2026", "search", objective=listed("acc"))

    assert judged(TASK, asked, outcome(State.OK, loss=0.5), listed("acc")).state is State.INVALID


def test_what_the_worker_saw_is_said_where_files_hold_null():
    stored = replace(outcome(State.INVALID, test_acc=None), reason="test_acc is nan")

    assert judged(TASK, Asked(0, "2026", "search"), stored, ASKED).reason == "test_acc is nan"


class Odd(float):
    """A number that fails when the engine looks at it."""

    def __float__(self):
        raise RuntimeError


def test_metrics_are_plain_values_as_a_file_gives_them():
    metrics = checked({"loss": Odd(1.5), "n": {"a": (Odd(2.0), 3)}})

    assert metrics == {"loss": 1.5, "n": {"a": [2.0, 3]}}
    assert type(metrics["loss"]) is float


@pytest.mark.parametrize("state", [State.FAILED, State.TIMEOUT, State.PRUNED, State.LOST])
def test_other_states_do_not_depend_on_the_objective(state):
    stored = outcome(state, loss=0.5)

    assert judged(TASK, Asked(0, "2026", "search"), stored, ASKED) is stored


def test_a_name_that_is_nearly_the_one_asked_for_has_a_cure_and_another_one_has_not():
    assert "have the code report 'test_acc'" in str(cure_of(TASK, {"test_acc ": 0.5}, ASKED))
    assert cure_of(TASK, {"quality": 0.5}, ASKED) is None
    assert cure_of(TASK, {"test_acc": 0.5, "test_acc ": 0.5}, ASKED) is None


def chained(error):
    try:
        raise error
    except OSError:
        try:
            raise RuntimeError("cannot save the model")
        except RuntimeError as other:
            return other


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (chained(OSError(errno.EDQUOT, "Disk quota exceeded")), True),
        (RuntimeError("PytorchStreamWriter failed: No space left on device"), True),
        (OSError(errno.ENOENT, "No such file"), False),
        (ValueError("x"), False),
    ],
)
def test_a_full_or_failing_disk_is_told_from_other_errors(error, is_so):
    assert is_of_disk(error) is is_so
