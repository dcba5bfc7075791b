"""The private interfaces of Parsl that we lean on, a test each: what fails here changed in Parsl."""

import inspect
import subprocess
import time

import pytest
from parsl import Config, HighThroughputExecutor
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.high_throughput import executor as htex
from parsl.executors.high_throughput import process_worker_pool
from parsl.executors.status_handling import BlockProviderExecutor
from parsl_optuna.core.errors import ExecutorError
from parsl_optuna.execution.apps import ParslExecutor, _htex_task
from parsl_optuna.execution.configs import local_config
from parsl_optuna.execution.kernel import Kernel
from parsl_optuna.execution.watched_pool import _TALKER

from tests.waiting import wait_for

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Parsl's own sockets


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """An executor that has run a task."""
    executor = ParslExecutor(lambda: local_config(tmp_path_factory.mktemp("run"), workers=1))
    executor.submit(abs, 1).result(timeout=120)
    yield executor
    executor.close()


def test_the_launch_command_names_its_program_and_its_paths():
    assert htex.DEFAULT_LAUNCH_CMD.startswith("process_worker_pool.py ")
    assert {"{cert_dir}", "{logdir}", "{{block_id}}"} <= set(
        htex.DEFAULT_LAUNCH_CMD.replace("=", " ").split()
    )


def test_the_interchange_is_started_by_name():
    assert htex.DEFAULT_INTERCHANGE_LAUNCH_CMD == ["interchange.py"]


def test_an_executor_keeps_its_interchange_and_its_thread_of_results(running):
    assert isinstance(running._executor.interchange_proc, subprocess.Popen)
    assert running._executor._result_queue_thread.is_alive()


def test_certificates_and_scripts_lie_where_we_look(running):
    logs = running._executor.logdir
    assert running._executor.cert_dir == f"{logs}/certificates"
    assert running._executor.provider.script_dir == f"{running._executor.run_dir}/submit_scripts"


def test_the_handler_of_block_errors_sees_the_executor(running):
    (manager,) = running._executor.connected_managers()
    assert {"block_id", "worker_count", "tasks", "idle_duration", "draining"} <= manager.keys()
    assert running._executor.connected_blocks() == ["0"]
    assert list(running._executor.blocks_to_job_id) == ["0"]
    assert running._executor.outstanding() == 0
    assert running.status().blocks[0].workers == 1


def test_blocks_are_scaled_out_one_by_one():
    assert list(inspect.signature(BlockProviderExecutor.scale_out_facade).parameters) == ["self", "n"]


def test_a_pool_takes_its_context_from_one_place():
    source = inspect.getsource(process_worker_pool)
    assert "from parsl.multiprocessing import SpawnContext" in source
    asked = [
        word
        for word in ("Manager()", "Queue()", 'Value("i", 0)', "Process(")
        if f"SpawnContext.{word}" in source
    ]
    assert len(asked) == 4
    assert source.index("pending_task_queue = Spawn") < source.index("pending_result_queue = Spawn")
    process_worker_pool.get_arg_parser()


def test_the_thread_that_talks_to_the_interchange_has_a_name():
    assert f'name="{_TALKER}"' in inspect.getsource(process_worker_pool.Manager.start)


def test_a_submission_can_be_found_at_its_worker(running):
    future = running.submit(time.sleep, 2.0)
    inner = running._pending[future]

    wait_for(lambda: isinstance(_htex_task(inner), int), 30)
    future.result(timeout=60)


def test_a_kernel_cleans_up_at_exit():
    assert callable(DataFlowKernel.atexit_cleanup)


def test_an_interchange_that_dies_at_its_start_ends_it_with_what_it_printed(tmp_path):
    executor = HighThroughputExecutor(
        label="htex", address="127.0.0.1", interchange_launch_cmd=["sh", "-c", "echo no such port; exit 3"]
    )
    config = Config(executors=[executor], run_dir=str(tmp_path), initialize_logging=False)

    with pytest.raises(ExecutorError, match=r"ended with exit status 3; .*\.out ends with\nno such port"):
        Kernel(config)
