"""A run that is stopped anywhere and gone on with gives the same bytes as one that was not."""

from functools import partial

import pytest
from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import Preempted
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.base import Work, run_task
from parsl_optuna.tasks.llc import TASK
from parsl_optuna.tasks.llc.engine.stages import Stages

from tests.scenarios import Bench, EveryNth

RUNS = {
    "hmc": {"draws": 60, "warmup": 40, "max_draws": 90},
    "sgld": {"steps": 200, "eval_every": 7, "precond_type": "adam"},
    "mclmc": {"steps": 150, "warmup": 40},
    "vi": {"steps": 60, "eval_samples": 50, "M": 2},
    "auto langevin": {"kernel": "langevin", "relative_error": 0.1, "chains": 16},
    "auto sgld": {"kernel": "sgld", "relative_error": 0.2, "chains": 16},
}

LONGER = {"auto sgld": 10}
"""Factor on the steps between interruptions, of runs that take thousands."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench({"model": "small", "data": "small"}, tmp_path_factory.mktemp("small"))


def run(bench, method, checkpoint, told=None):
    params, method = TASK.complete({}, method.split()[0], RUNS[method], "test"), method.split()[0]
    told = [] if told is None else told
    work = Work(bench.problem, method, params, 5, Deadline(600), bench.folder, checkpoint,
                lambda *report: told.append(report))  # fmt: skip
    metrics = run_task(TASK, work)
    for name in ("warmup_sec", "drawing_sec"):  # of the last attempt
        metrics["diagnostics"].pop(name, None)
    return metrics


@pytest.mark.parametrize("n", [11, pytest.param(23, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", RUNS)
def test_interrupted_and_uninterrupted_runs_are_the_same(bench, tmp_path, method, n):
    wanted = run(bench, method, Checkpoint())
    attempts, found = 0, None
    while found is None:
        attempts += 1
        assert attempts < 300
        try:
            found = run(bench, method, EveryNth(tmp_path, n * LONGER.get(method, 1)))
        except Preempted:
            continue

    assert attempts > 1
    assert repr(found) == repr(wanted)


@pytest.mark.parametrize("method", RUNS)
def test_telling_changes_nothing(bench, monkeypatch, method):
    wanted, told = run(bench, method, Checkpoint()), []
    monkeypatch.setattr("parsl_optuna.tasks.llc.run.Stages", partial(Stages, report_sec=0.0))

    found = run(bench, method, Checkpoint(), told)

    assert repr(found) == repr(wanted)
    assert len(told) > 10
    assert abs(told[-1][1]["llc_hat"] - wanted["llc_hat"]) < 0.2 * wanted["llc_hat"]


def test_saving_without_leaving_changes_nothing(bench, tmp_path):
    wanted = run(bench, "mclmc", Checkpoint())

    assert repr(run(bench, "mclmc", Checkpoint(tmp_path, every_sec=0.01))) == repr(wanted)
    assert list(tmp_path.iterdir())
