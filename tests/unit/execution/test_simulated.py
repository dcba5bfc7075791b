"""Queues whose course can be worked out by hand."""

import random

import pytest
from parsl_optuna.core.records import Request
from parsl_optuna.execution.simulated import SimulatedExecutor, SimulatedTrial
from parsl_optuna.worker import supervise


def submit(executor, name, urgency=0.0):
    return executor.submit(supervise.run, Request("root", "p", "m", name, 1.0), urgency=urgency)


def drain(executor, futures):
    while not all(future.done() for future in futures):
        executor.check()


def simulate(workers, seconds, **kwargs):
    return SimulatedExecutor(
        workers, lambda t: SimulatedTrial(seconds[t.trial_id], {"id": t.trial_id}), **kwargs
    )


def test_workers_take_what_was_submitted_first():
    executor = simulate(2, {"a": 4.0, "b": 1.0, "c": 2.0})
    futures = [submit(executor, name) for name in "abc"]

    executor.check()
    assert [future.done() for future in futures] == [False, True, False]
    assert executor.now() == 1.0
    drain(executor, futures)

    usage = executor.usage()
    assert (usage.makespan_sec, usage.busy_sec) == (4.0, 7.0)
    assert (usage.last_start_sec, usage.busy_before_sec) == (1.0, 2.0)


def test_the_most_urgent_of_what_is_queued_goes_first():
    executor = simulate(1, dict.fromkeys("abcd", 1.0))
    order = []
    for name, urgency in {"a": 0.0, "b": 1.0, "c": 5.0, "d": 5.0}.items():
        submit(executor, name, urgency=urgency).add_done_callback(
            lambda done: order.append(done.result()["id"])
        )
    for _ in range(4):
        executor.check()

    assert order == ["a", "c", "d", "b"]


def test_while_the_driver_is_busy_workers_go_on_with_the_queue():
    executor = simulate(
        1, dict.fromkeys("abcd", 1.0), dispatch_sec=lambda t: 10.0 if t.trial_id == "d" else 0.0
    )
    futures = [submit(executor, name) for name in "abcd"]
    executor.check()

    assert executor.now() == 10.0
    assert [future.done() for future in futures] == [True, True, True, False]
    drain(executor, futures)
    assert executor.usage().makespan_sec == 11.0


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_no_order_beats_the_two_lower_bounds_and_greedy_is_within_twice(workers):
    draw = random.Random(workers)
    seconds = {str(index): draw.uniform(0.1, 5.0) for index in range(60)}
    executor = simulate(workers, seconds)
    drain(executor, [submit(executor, name, urgency=draw.random()) for name in seconds])
    usage = executor.usage()

    bound = max(sum(seconds.values()) / workers, max(seconds.values()))
    assert usage.busy_sec == pytest.approx(sum(seconds.values()))
    assert bound <= usage.makespan_sec + 1e-9
    assert usage.makespan_sec <= 2 * bound  # Graham's bound for list scheduling
