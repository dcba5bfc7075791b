"""What a trial may report on its way."""

import numpy as np
import pytest
import torch
from parsl_optuna.core.errors import MetricNameError, TaskError
from parsl_optuna.store.progress import Reporter, reports
from parsl_optuna.worker.attempt import Progress


@pytest.fixture
def progress(tmp_path):
    """Progress that is kept in a file, and that file."""
    path = tmp_path / "progress.jsonl"
    return Progress(reporter=Reporter(path)), path


@pytest.mark.parametrize("step", [3, 3.0, np.int64(3), np.float32(3), torch.tensor(3)])
@pytest.mark.parametrize(
    "metrics", [{"loss": 0.5}, 0.5, {"loss": np.float32(0.5)}, {"loss": torch.tensor(0.5)}]
)
def test_numbers_of_numpy_and_torch_are_those_of_python(progress, step, metrics):
    progress[0].report(step, metrics)

    assert reports(progress[1]) == [(3, {"loss": 0.5})]


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ((0.5, {"loss": 1}), r"report\(0.5, …\): the step must be a whole number"),
        (("a", {"loss": 1}), "first the step, then the metrics"),
        ((float("nan"), 1.0), "must be a whole number"),
        ((1, "a"), "the function reported a str; report a number"),
        ((1, {"loss": {1, 2}}), "the metric 'loss' cannot be stored"),
        ((1, {"a": {1: 2, "1": 3}}), "the keys 1 and '1' are one name"),
    ],
)
def test_what_cannot_be_reported_is_told_and_not_dropped(progress, report, words):
    with pytest.raises(TaskError, match=words):
        progress[0].report(*report)

    assert reports(progress[1]) == []


def test_a_name_that_no_metric_can_have_is_refused(progress):
    with pytest.raises(MetricNameError, match="a name of the engine"):
        progress[0].report(1, {"runtime_sec": 3.0})
