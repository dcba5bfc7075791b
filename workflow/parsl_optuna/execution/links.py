"""What Parsl's worker pool uses of `multiprocessing`, without a lock that a killed worker could take along.

Parsl's workers share one queue for tasks and one for results. A worker that waits for a task holds the lock
of the queue: where it is killed, no other one gets work again. Here each worker has a pipe of its own; the
pool hands a task to a worker that is free, and reads what comes back in a thread per worker.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from parsl_optuna.core.processes import die_with_parent


class TaskEnd:
    """A worker's end of its pipe, as its queue of tasks."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next task; raises `queue.Empty` after *timeout* seconds, or where the pool is gone."""
        del block
        with contextlib.suppress(EOFError, OSError):
            if self._pipe.poll(timeout):
                return self._pipe.recv()
        raise queue.Empty


class ResultEnd:
    """A worker's end of its pipe, as its queue of results."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def put(self, result: Any) -> None:
        """Send a result."""
        self._pipe.send(result)


class Counter:
    """A number that each process has for itself; Parsl only prints it."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def get_lock(self) -> threading.Lock:
        """Return a lock among the threads of this process."""
        return self._lock

    def __reduce__(self) -> tuple[type[Counter], tuple[()]]:
        return Counter, ()


class Tasks:
    """The pool's queue of tasks, and which worker has which."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Any] = deque()
        self._pipes: dict[int, Connection] = {}
        self._held: dict[int, Any] = {}

    def put(self, task: Any) -> None:
        """Hand a task to a worker that is free, or let it wait for one."""
        with self._lock:
            self._waiting.append(task)
            self._hand_out()

    def qsize(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def pop(self, worker: int) -> Any:
        """Return the task that a worker has taken along; raises `KeyError` where it had none."""
        with self._lock:
            self._pipes.pop(worker, None)
            return self._held.pop(worker)

    def connect(self, worker: int, pipe: Connection) -> None:
        """Give work to a new worker."""
        with self._lock:
            self._pipes[worker] = pipe
            self._hand_out()

    def release(self, worker: int, pipe: Connection) -> None:
        """Note that a worker has sent its result."""
        with self._lock:
            if self._pipes.get(worker) is pipe:
                self._held.pop(worker, None)
                self._hand_out()

    def disconnect(self, worker: int, pipe: Connection) -> None:
        """Give no more work to a worker that is gone; `pop` tells what it had."""
        with self._lock:
            if self._pipes.get(worker) is pipe:
                del self._pipes[worker]

    def holder(self, task_id: int) -> int | None:
        """Return which worker has a task."""
        with self._lock:
            return next((worker for worker, task in self._held.items() if task["task_id"] == task_id), None)

    def _hand_out(self) -> None:
        free = [worker for worker in self._pipes if worker not in self._held]
        for worker in free:
            if not self._waiting:
                return
            task = self._waiting.popleft()
            # Noted first: where the worker is dead, its end is noticed soon, and its task with it.
            self._held[worker] = task
            with contextlib.suppress(OSError):
                self._pipes[worker].send(task)


class _InProgress:
    """The pool's record of which worker has which task."""

    def __init__(self, tasks: Tasks) -> None:
        self.pop = tasks.pop


class _Manager:
    """Stands in for the process that would keep what threads of the pool share."""

    def __init__(self, tasks: Tasks) -> None:
        self.in_progress = _InProgress(tasks)
        self.messages: queue.Queue[Any] = queue.Queue()

    def dict(self) -> _InProgress:
        """Return the record of which worker has which task."""
        return self.in_progress

    def Queue(self) -> queue.Queue[Any]:  # noqa: N802  as in multiprocessing
        """Return the queue of messages of monitoring."""
        return self.messages


class Links:
    """Stands in for a spawning context of `multiprocessing` in Parsl's worker pool.

    The pool asks for a queue of tasks first, then for one of results.
    """

    def __init__(self) -> None:
        self._spawn = multiprocessing.get_context("spawn")
        self._tasks = Tasks()
        self._results: queue.Queue[Any] = queue.Queue()
        self._queues: deque[Any] = deque([self._tasks, self._results])
        self._manager = _Manager(self._tasks)
        self._processes: dict[int, SpawnProcess] = {}

    def cpu_count(self) -> int:
        """Return the number of cores of this machine."""
        return self._spawn.cpu_count()

    def Manager(self) -> _Manager:  # noqa: N802
        """Return what keeps things that threads share."""
        return self._manager

    def Queue(self) -> Any:  # noqa: N802
        """Return the queue of tasks, then that of results."""
        return self._queues.popleft()

    def Value(self, kind: str, start: int) -> Counter:  # noqa: N802
        """Return the number of free workers, which is only printed."""
        del kind, start
        return Counter()

    def Process(self, target: Callable[..., None], args: tuple[Any, ...], name: str) -> SpawnProcess:  # noqa: N802
        """Return a worker that is to be started, with ends of its own pipe in the place of what is shared."""
        ours, theirs = self._spawn.Pipe()
        ends = {
            id(self._tasks): TaskEnd(theirs),
            id(self._results): ResultEnd(theirs),
            id(self._manager.messages): ResultEnd(theirs),
            id(self._manager.in_progress): {},  # it notes for itself what it has
        }
        own = tuple(ends.get(id(one), one) for one in args)
        return _Worker(lambda process: self._begin(args[0], process, ours, theirs), target, own, name)

    def kill(self, task_id: int) -> bool:
        """Kill the worker that has a task; return whether there is one."""
        worker = self._tasks.holder(task_id)
        process = None if worker is None else self._processes.get(worker)
        if process is None:
            return False
        process.kill()
        return True

    def _begin(self, worker: int, process: SpawnProcess, ours: Connection, theirs: Connection) -> None:
        theirs.close()
        self._processes[worker] = process
        self._tasks.connect(worker, ours)
        threading.Thread(target=self._read, args=(worker, ours), daemon=True).start()

    def _read(self, worker: int, pipe: Connection) -> None:
        """Pass on what a worker sends, to its end."""
        while True:
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                self._tasks.disconnect(worker, pipe)
                pipe.close()
                return
            self._results.put(message)
            self._tasks.release(worker, pipe)


class _Worker(SpawnProcess):
    """A worker that ends with its pool, and is connected once it has started."""

    def __init__(
        self,
        begin: Callable[[SpawnProcess], None],
        target: Callable[..., None],
        args: tuple[Any, ...],
        name: str,
    ) -> None:
        super().__init__(target=_run, args=(target, args), name=name)
        self._on_start: Callable[[SpawnProcess], None] | None = begin

    def start(self) -> None:
        """Start the process."""
        begin, self._on_start = self._on_start, None  # it does not travel
        assert begin is not None
        super().start()
        begin(self)


def _run(target: Callable[..., None], args: tuple[Any, ...]) -> None:
    die_with_parent(signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid == os.getppid():  # else it ended before it could be asked about
        target(*args)
