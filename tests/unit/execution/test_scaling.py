"""How many blocks are held, worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl_optuna.core.errors import ExecutorError
from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.execution.backend import Phase
from parsl_optuna.execution.blocks import Blocks
from parsl_optuna.execution.processes import Processes
from parsl_optuna.execution.scaling import Decision, Scaling, Use, decide
from parsl_optuna.execution.scheduler import Job

from tests.unit.execution.test_blocks import Scheduler


def decided(outstanding, blocks, new_workers=4, max_blocks=3, idle_sec=60):
    return decide(outstanding, blocks, new_workers, max_blocks, idle_sec)


@pytest.mark.parametrize(("outstanding", "asked"), [(0, 0), (1, 1), (4, 1), (5, 2), (12, 3), (100, 3)])
def test_as_many_blocks_are_asked_for_as_the_tasks_can_use(outstanding, asked):
    assert decided(outstanding, {}) == Decision(ask=asked)


def test_queued_blocks_count_as_what_they_will_be():
    assert decided(8, {"a": Use(4), "b": Use(4, queued=True)}) == Decision()


def test_a_draining_block_is_replaced_once_its_place_is_free():
    blocks = {"a": Use(4, tasks=1, draining=True)}

    assert decided(3, blocks, max_blocks=1) == Decision()
    assert decided(3, blocks, max_blocks=2) == Decision(ask=1)


def test_what_a_draining_block_runs_needs_no_other_block():
    assert decided(2, {"a": Use(4, tasks=2, draining=True)}) == Decision()


def test_idle_blocks_go_back_while_others_work():
    blocks = {"a": Use(4, tasks=1), "b": Use(4, idle_sec=61), "c": Use(4, idle_sec=30)}

    assert decided(1, blocks) == Decision(give_back=("b",))


def test_a_block_without_work_for_a_while_goes_back_at_the_end():
    assert decided(0, {"a": Use(4, idle_sec=61)}) == Decision(give_back=("a",))


def test_a_queued_block_is_kept_until_it_was_spare_for_a_while():
    assert decided(1, {"a": Use(4, tasks=1), "b": Use(4, queued=True, idle_sec=5)}) == Decision()
    assert decided(1, {"a": Use(4, tasks=1), "b": Use(4, queued=True, idle_sec=61)}).give_back == ("b",)


uses = st.builds(
    Use,
    workers=st.integers(1, 8),
    tasks=st.integers(0, 8),
    idle_sec=st.floats(0, 200),
    draining=st.booleans(),
    queued=st.booleans(),
)


@given(
    outstanding=st.integers(0, 100),
    blocks=st.dictionaries(st.sampled_from("abcdefgh"), uses),
    new_workers=st.integers(0, 8),
    max_blocks=st.integers(1, 5),
)
def test_there_are_never_more_than_allowed_and_nothing_that_works_is_given_back(
    outstanding, blocks, new_workers, max_blocks
):
    decision = decide(outstanding, blocks, new_workers, max_blocks, 60)

    assert decision.ask == 0 or len(blocks) + decision.ask <= max_blocks
    assert not (decision.ask and decision.give_back)
    assert all(blocks[job].tasks == 0 and blocks[job].idle_sec > 60 for job in decision.give_back)
    kept = sum(
        use.workers for job, use in blocks.items() if job not in decision.give_back and not use.draining
    )
    lent = sum(use.tasks for use in blocks.values() if use.draining)
    assert not decision.give_back or kept >= outstanding - lent


class Deaf:
    """An executor with three tasks whose workers never register."""

    def __init__(self, blocks):
        self.blocks, self.blocks_to_job_id = blocks, {}

    def connected_managers(self):
        return []

    def connected_blocks(self):
        return []

    def outstanding(self):
        return 3

    def scale_out_facade(self, count):
        job_id = self.blocks.submit("pool", count)
        self.blocks_to_job_id[str(len(self.blocks_to_job_id))] = job_id
        self.blocks.held[job_id].job = Job(Phase.RUNNING)
        return [job_id]


def test_blocks_whose_workers_never_register_are_replaced_and_end_the_command_after_some(tmp_path):
    clock = [0.0]
    blocks = Blocks(Scheduler(), ClusterSpec(max_blocks=1), "cluster", now=lambda: clock[0])
    blocks.script_dir = str(tmp_path / "submit_scripts")
    scaling, executor = Scaling(blocks), Deaf(blocks)

    while scaling.failure is None and clock[0] < 1e4:
        scaling(executor, {})
        clock[0] += 30.0

    assert len(blocks.held) == 3
    assert 1800 < clock[0] < 2200
    assert "job 2: its workers have not registered in 600 s, as those of 2 blocks before" in str(
        scaling.failure
    )


class OtherParsl:
    """An executor of a Parsl whose interface is another one."""

    outstanding = 3

    def __init__(self):
        self.blocks_to_job_id = {}

    def connected_managers(self):
        return []


def test_a_parsl_that_cannot_be_worked_with_ends_the_command():
    scaling = Scaling(Blocks(Processes(), ClusterSpec(), "local"))

    for _ in range(30):
        if scaling.failure is None:
            with pytest.raises(TypeError):
                scaling(OtherParsl(), {})

    assert isinstance(scaling.failure, ExecutorError)
    assert "cannot be looked after with Parsl 20" in str(scaling.failure)
