"""On real worker processes."""

import os
import time
from concurrent.futures import wait

import pytest
from parsl_optuna.core.errors import ExecutorError, WorkerLost
from parsl_optuna.execution.apps import ParslExecutor
from parsl_optuna.execution.configs import file_config, local_config
from parsl_optuna.execution.inline import InlineExecutor

from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Parsl's own sockets


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    executor = ParslExecutor(lambda: local_config(tmp_path_factory.mktemp("runinfo"), workers=2))
    yield executor
    executor.close()


def test_work_runs_in_other_processes_with_one_thread_each(pool):
    futures = [pool.submit(os.getpid) for _ in range(8)]
    threads = pool.submit(os.getenv, "OMP_NUM_THREADS")

    assert os.getpid() not in {future.result(timeout=60) for future in futures}
    assert threads.result(timeout=60) == "1"


def test_errors_come_by_the_future(pool):
    future = pool.submit(divmod, 1, 0)
    wait([future], timeout=60)

    assert isinstance(future.exception(), ZeroDivisionError)


class Unsendable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raise_unsendable():
    raise Unsendable(1, 2)


def raise_lost():
    raise WorkerLost("gone") from Unsendable(1, 2)


def test_an_error_that_cannot_be_sent_is_told_and_work_goes_on(pool):
    unsendable, lost = pool.submit(raise_unsendable), pool.submit(raise_lost)
    wait([unsendable, lost], timeout=60)

    assert str(unsendable.exception()) == "Unsendable: 1 and 2"
    assert type(lost.exception()).__name__ == "WorkerLost"
    assert pool.submit(divmod, 7, 2).result(timeout=60) == (3, 1)


def test_a_worker_that_dies_costs_its_task_only(pool):
    dead = pool.submit(os._exit, 3)
    wait([dead], timeout=90)

    assert type(dead.exception()).__name__ == "WorkerLost"
    assert pool.submit(divmod, 7, 2).result(timeout=60) == (3, 1)


def test_a_worker_whose_task_is_out_too_long_is_replaced_and_the_others_go_on(pool):
    late, other = pool.submit(time.sleep, 600), pool.submit(time.sleep, 5)
    time.sleep(1)

    pool.replace(late)
    wait([late, other], timeout=60)

    assert type(late.exception()).__name__ in ("WorkerLost", "BlockLost")
    assert other.exception() is None
    assert pool.submit(divmod, 7, 2).result(timeout=60) == (3, 1)


def write_threads(path, run_dir):
    """Write a configuration of threads in this process."""
    path.write_text(
        "from parsl import Config\n"
        "from parsl.executors import ThreadPoolExecutor\n"
        "executors = [ThreadPoolExecutor(label='threads')]\n"
        f"config = Config(executors=executors, initialize_logging=False, run_dir={str(run_dir)!r})\n"
    )


def test_nothing_starts_before_the_first_submit(tmp_path):
    def fail():
        raise AssertionError

    ParslExecutor(fail).close()


def test_a_configuration_that_cannot_start_is_one_line(tmp_path):
    write_threads(tmp_path / "c.py", "/proc/nowhere")
    executor = ParslExecutor(lambda: file_config(tmp_path / "c.py"))

    with pytest.raises(ExecutorError, match="Parsl cannot start"):
        executor.submit(divmod, 7, 2)


def test_a_file_may_define_a_config_or_a_function(tmp_path):
    write_threads(tmp_path / "a.py", tmp_path / "run")
    executor = ParslExecutor(lambda: file_config(tmp_path / "a.py"))

    assert executor.submit(divmod, 7, 2).result(timeout=60) == (3, 1)
    executor.close()


def test_inline_is_the_same_contract():
    assert InlineExecutor().submit(divmod, 7, 2).result() == (3, 1)


@pytest.mark.parametrize("name", ["local", "slurm", "pbs"])
def test_traffic_is_encrypted(tmp_path, name):
    config = local_config(tmp_path) if name == "local" else file_config(ROOT / "parsl_configs" / f"{name}.py")

    assert [executor.encrypted for executor in config.executors] == [True]


def test_the_most_urgent_work_goes_first(tmp_path):
    executor = ParslExecutor(lambda: local_config(tmp_path, workers=1))
    executor.submit(abs, 1).result(timeout=60)
    order = []
    blocker = executor.submit(time.sleep, 1.0)
    for number, urgency in enumerate([1.0, 3.0, 2.0, float("inf"), 0.5]):
        future = executor.submit(abs, number, urgency=urgency)
        future.add_done_callback(lambda done: order.append(done.result()))
    wait([blocker, future], timeout=60)
    executor.close()

    assert order == [3, 1, 2, 0, 4]
