"""Workers with a pipe each: whoever is killed, the others get work."""

import os
import queue
import signal
import time

import pytest
from parsl_optuna.execution.links import Counter, Links

from tests.waiting import wait_for


def serve(worker, tasks, results, in_progress, counter):
    """Do what Parsl's worker does: take tasks, answer with what they are and who did them."""
    while True:
        with counter.get_lock():
            counter.value += 1
        try:
            task = tasks.get(timeout=1)
        except queue.Empty:
            continue
        in_progress[worker] = task
        if task.get("sleep"):
            time.sleep(task["sleep"])
        results.put((task["task_id"], os.getpid()))
        in_progress.pop(worker)


class Pool:
    """What Parsl's pool does with its context."""

    def __init__(self, workers):
        self.links = Links()
        manager = self.links.Manager()
        self.in_progress = manager.dict()
        self.tasks, self.results = self.links.Queue(), self.links.Queue()
        self.counter = self.links.Value("i", 0)
        self.processes = [self.start(worker) for worker in range(workers)]

    def start(self, worker):
        args = (worker, self.tasks, self.results, self.in_progress, self.counter)
        process = self.links.Process(target=serve, args=args, name=f"worker-{worker}")
        process.start()
        return process

    def close(self):
        for process in self.processes:
            process.kill()
            process.join()


@pytest.fixture
def pool():
    pool = Pool(2)
    yield pool
    pool.close()


def test_every_task_is_done_once_and_all_workers_are_used(pool):
    for number in range(50):
        pool.tasks.put({"task_id": number, "sleep": 0.01})

    done = [pool.results.get(timeout=30) for _ in range(50)]

    assert sorted(number for number, _ in done) == list(range(50))
    assert {pid for _, pid in done} == {process.pid for process in pool.processes}


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_is_killed_while_idle_takes_no_other_one_along(pool, victim):
    pool.tasks.put({"task_id": 0})
    pool.results.get(timeout=30)  # they have started

    os.kill(pool.processes[victim].pid, signal.SIGKILL)
    pool.processes[victim].join()
    for number in range(1, 20):
        pool.tasks.put({"task_id": number})

    # One of them may have been handed to the dead worker before its end was noticed.
    lost = []
    for _ in range(19):
        try:
            lost.append(pool.in_progress.pop(victim)["task_id"])
        except KeyError:
            break
    done = [pool.results.get(timeout=30)[0] for _ in range(19 - len(lost))]
    assert sorted(done + lost) == list(range(1, 20))


def test_the_task_of_a_killed_worker_is_told_and_its_successor_gets_work(pool):
    pool.tasks.put({"task_id": 7, "sleep": 60})
    pool.tasks.put({"task_id": 8, "sleep": 60})

    assert pool.links.kill(7)
    victim = wait_for(
        lambda: next((i for i, one in enumerate(pool.processes) if not one.is_alive()), None) is not None
    )
    victim = next(i for i, one in enumerate(pool.processes) if not one.is_alive())

    assert pool.in_progress.pop(victim)["task_id"] == 7
    pool.processes[victim] = pool.start(victim)
    pool.tasks.put({"task_id": 9})
    assert pool.results.get(timeout=30)[0] == 9


def test_a_task_that_nobody_has_cannot_be_killed(pool):
    assert not pool.links.kill(3)


def test_a_counter_starts_anew_in_another_process():
    made, arguments = Counter().__reduce__()

    assert made(*arguments).value == 0
