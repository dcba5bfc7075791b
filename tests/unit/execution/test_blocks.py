"""Blocks with a scheduler that the test plays."""

from pathlib import Path

import pytest
from parsl_optuna.core.errors import ExecutorError
from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.execution.backend import Phase
from parsl_optuna.execution.blocks import Blocks
from parsl_optuna.execution.scheduler import Job, Silent


class Scheduler:
    """Says of jobs what the test wants."""

    name = "test"

    def __init__(self):
        self.said, self.cancelled, self.asked, self.silent = {}, [], [], False

    def head(self, cluster, job_name):
        return []

    def spread(self, cluster, script):
        return "true"

    def submit(self, script):
        job_id = str(len(self.said))
        self.said[job_id] = Job(Phase.QUEUED)
        return job_id

    def ask(self, job_ids):
        if self.silent:
            raise Silent
        self.asked.append(list(job_ids))
        return {job_id: self.said[job_id] for job_id in job_ids if job_id in self.said}

    def cancel(self, job_ids):
        self.cancelled += job_ids

    def named(self, job_name):
        return ["77"]


@pytest.fixture
def scheduler():
    return Scheduler()


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def blocks(scheduler, clock, tmp_path):
    cluster = ClusterSpec(max_blocks=2, poll_sec=10)
    blocks = Blocks(scheduler, cluster, "cluster", now=lambda: clock[0])
    blocks.script_dir = str(tmp_path / "submit_scripts")
    return blocks


def phases(blocks):
    return [held.job.phase.value for held in blocks.held.values()]


@pytest.mark.parametrize("answer", [Phase.QUEUED, Phase.RUNNING, None])
def test_no_answer_of_the_scheduler_makes_more_blocks_than_allowed(blocks, scheduler, answer):
    blocks.submit("pool", 1)
    blocks.submit("pool", 1)
    scheduler.silent = answer is None
    scheduler.said = dict.fromkeys(scheduler.said, Job(answer)) if answer else scheduler.said
    blocks.status(list(blocks.held))

    with pytest.raises(ExecutorError, match="no more than 2 blocks"):
        blocks.submit("pool", 1)


def test_a_job_that_the_scheduler_does_not_know_has_ended(blocks, scheduler, clock):
    blocks.submit("pool", 1)
    scheduler.said = {}
    clock[0] = 3.0
    blocks.status(["0"])

    assert phases(blocks) == ["ended"]


def test_a_scheduler_that_says_nothing_changes_nothing(blocks, scheduler, clock):
    blocks.submit("pool", 1)
    scheduler.silent = True
    clock[0] = 100.0
    blocks.status(["0"])

    assert phases(blocks) == ["queued"]


def test_the_scheduler_is_asked_soon_after_a_submission_and_then_rarely(blocks, scheduler, clock):
    blocks.submit("pool", 1)
    for second in range(30):
        clock[0] = float(second)
        blocks.status(["0"])

    assert len(scheduler.asked) == 3  # after 2, 12 and 22 seconds


def test_an_exit_status_is_known_before_the_scheduler_is_asked(blocks, scheduler):
    blocks.submit("pool", 1)
    Path(blocks.held["0"].files.status).write_text("7\n")
    blocks.status(["0"])

    assert (phases(blocks), blocks.held["0"].status, scheduler.asked) == (["ended"], 7, [])


def test_only_what_has_not_started_is_given_back_when_draining(blocks, scheduler, clock):
    blocks.submit("pool", 1)
    blocks.submit("pool", 1)
    scheduler.said["0"] = Job(Phase.RUNNING)
    clock[0] = 3.0
    blocks.status(["0", "1"])

    blocks.cancel_queued()

    assert scheduler.cancelled == ["1"]


def test_jobs_of_a_dead_driver_are_cancelled(blocks, scheduler):
    assert blocks.cancel_left_over() == ["77"]
    assert scheduler.cancelled == ["77"]


def test_nothing_is_asked_for_once_closed(blocks):
    blocks.close()

    with pytest.raises(ExecutorError):
        blocks.submit("pool", 1)
