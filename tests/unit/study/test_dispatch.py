"""What comes back, what is submitted again, what is late, what ends the command."""

from concurrent.futures import Future

import pytest
from parsl_optuna.core.errors import BlockLost, ExecutorError, NotStarted, StoreError, TaskError, WorkerLost
from parsl_optuna.core.records import Asked, State, Trial
from parsl_optuna.core.resources import LimitsSpec
from parsl_optuna.execution.backend import BackendStatus
from parsl_optuna.store.events import EventLog, EventReader
from parsl_optuna.study.dispatch import Dispatch, Prepared
from parsl_optuna.worker import execute as worker

from tests.unit.worker.test_execute import stored


class Manual:
    """An executor whose futures the test resolves, and whose queue and clock are numbers."""

    isolates = True

    def __init__(self):
        self.futures, self.replaced, self.now = [], [], 0.0
        self.running = 1

    def submit(self, function, *args, urgency=0.0):
        self.futures.append(Future())
        return self.futures[-1]

    def status(self):
        return BackendStatus(running=self.running, queued=len(self.futures) - self.running)

    def replace(self, future):
        self.replaced.append(future)
        future.set_exception(WorkerLost("replaced"))

    def clock(self):
        return self.now


@pytest.fixture
def case(tmp_path):
    """Return an executor, a dispatch on it, two stored trials and their store."""
    executor = Manual()
    store, first = stored(tmp_path)
    _, second = stored(tmp_path, x=0.7)
    limits = LimitsSpec(grace_sec=2.0)
    events = EventLog(tmp_path / "events.jsonl")
    dispatch = Dispatch(store, executor, limits, lambda: None, events, executor.clock)
    asked = Asked(0, "2026", "search")
    return executor, dispatch, Trial(first, asked), Trial(second, asked), store


def limit(trial):
    return trial.manifest.budget_sec + 2.0 + 120.0


def kinds(store):
    return [event["event"] for event in EventReader(store.paths.root / "events.jsonl").new()]


@pytest.mark.parametrize(("error", "tries"), [(WorkerLost("gone"), 3), (BlockLost("gone"), 11)])
def test_a_lost_trial_is_submitted_again_a_bounded_number_of_times(case, error, tries):
    executor, dispatch, trial, _, store = case
    dispatch.run(trial, 0.0)

    found = []
    while not dispatch.is_idle:
        executor.futures[-1].set_exception(error)
        found += dispatch.wait(0.0)

    ((_, outcome),) = found
    assert outcome.state is State.LOST
    assert f"tried {tries} times" in outcome.reason
    assert len(executor.futures) == tries
    assert dispatch.n_started == 1
    assert kinds(store).count("retried") == tries - 1


@pytest.mark.parametrize(
    "error", [KeyError("resource"), StoreError("disk full"), ExecutorError("no partition")]
)
def test_a_fault_of_ours_ends_the_command_and_is_no_outcome(case, error):
    executor, dispatch, trial, _, store = case
    dispatch.run(trial, 0.0)
    executor.futures[0].set_exception(error)

    with pytest.raises((ExecutorError, StoreError), match=r"resource|disk full|no partition"):
        dispatch.wait(0.0)

    assert len(executor.futures) == 1
    assert store.outcome(trial.manifest) is None
    assert kinds(store)[-1] == "engine_error"


def test_a_trial_that_was_not_started_counts_as_none(case):
    executor, dispatch, trial, _, _ = case
    dispatch.run(trial, 0.0)
    executor.futures[0].set_exception(NotStarted("the driver is leaving"))

    assert dispatch.wait(0.0) == [(trial, None)]
    assert dispatch.n_started == 0


def test_a_problem_that_its_task_cannot_prepare_is_told_and_a_fault_is_raised(case):
    executor, dispatch, trial, _, _ = case
    dispatch.prepare(trial.manifest.pid, 0.0)
    executor.futures[0].set_exception(TaskError("ValueError: no such data"))
    assert dispatch.wait(0.0) == [Prepared(trial.manifest.pid, "ValueError: no such data")]

    dispatch.prepare(trial.manifest.pid, 0.0)
    executor.futures[1].set_exception(ModuleNotFoundError("parsl_optuna"))
    with pytest.raises(ExecutorError, match="ModuleNotFoundError"):
        dispatch.wait(0.0)


def test_a_trial_past_its_deadline_gets_another_worker(case):
    executor, dispatch, trial, _, store = case
    dispatch.run(trial, 0.0)
    executor.now = limit(trial) + 1
    assert dispatch.overdue() == []  # it may have been queued until now
    assert not executor.replaced
    executor.now += limit(trial)
    assert dispatch.overdue() == []
    assert not executor.replaced
    executor.now += 1

    assert dispatch.overdue() == []
    assert dispatch.wait(0.0) == []

    assert executor.replaced == executor.futures[:1]
    assert len(executor.futures) == 2
    assert "engine_error" in kinds(store)


def test_an_outcome_on_disk_counts_when_the_answer_is_lost(case):
    executor, dispatch, trial, _, store = case
    dispatch.run(trial, 0.0)
    stored_outcome = store.commit(trial.manifest, worker.failure(trial.manifest, State.FAILED, "by itself"))
    executor.now = limit(trial) + 1
    dispatch.overdue()
    executor.now += limit(trial) + 1

    assert dispatch.overdue() == [(trial, stored_outcome)]
    assert dispatch.wait(0.0) == []
    assert dispatch.is_idle
    assert len(executor.futures) == 1


def test_the_time_in_the_queue_does_not_count(case):
    executor, dispatch, first, second, _ = case
    dispatch.run(first, 0.0)
    dispatch.run(second, 0.0)
    for _ in range(2):
        executor.now += limit(first) + 1
        dispatch.overdue()
        dispatch.wait(0.0)

    assert executor.futures[1] not in executor.replaced  # one worker, and the first trial holds it
    assert executor.futures[0] in executor.replaced


def test_a_more_urgent_trial_may_have_taken_the_worker(case):
    executor, dispatch, first, second, _ = case
    dispatch.run(first, 0.0)
    dispatch.run(second, 5.0)
    for _ in range(5):
        executor.now += limit(first) + 1
        dispatch.overdue()

    assert not executor.replaced  # nobody knows which of the two runs
    executor.running = 2
    dispatch.overdue()
    executor.now += limit(first) + 1
    dispatch.overdue()
    assert len(executor.replaced) == 2
