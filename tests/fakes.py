"""Executors whose futures the test resolves: any order, lost, failed."""

from __future__ import annotations

import random
from concurrent.futures import Future

from parsl_optuna.core.errors import WorkerLost
from parsl_optuna.worker import supervise


def requested(args, name):
    """Return a field of what was submitted; None where it is no trial."""
    return getattr(args[0], name, None)


class ShuffledExecutor:
    """Holds submissions back, and runs one at random whenever the driver is about to wait."""

    isolates = False

    def __init__(self, seed, lose=0.0):
        self._random = random.Random(seed)
        self._held = []
        self._lose = lose
        self.most_held = 0
        self.submitted = []

    def submit(self, function, *args, urgency=0.0):
        future = Future()
        self._held.append((future, function, args))
        self.submitted.append(args)
        self.most_held = max(self.most_held, len(self._held))
        return future

    def pump(self, snapshot=None):
        """Run one held submission; meant as the driver's observer."""
        if not self._held:
            return
        future, function, args = self._held.pop(self._random.randrange(len(self._held)))
        if self._random.random() < self._lose:
            future.set_exception(WorkerLost("gone"))
            return
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)

    def check(self):
        pass

    def status(self):
        return None

    def replace(self, future):
        pass

    def drain(self):
        pass

    def close(self):
        self._held = []


class IsolatedExecutor:
    """Runs trials in a real child process, at once."""

    isolates = True

    def submit(self, function, *args, urgency=0.0):
        future = Future()
        future.set_result(function(*args))
        return future

    def check(self):
        pass

    def status(self):
        return None

    def replace(self, future):
        pass

    def drain(self):
        pass

    def close(self):
        for client in supervise._clients.values():
            client.close()
        supervise._clients.clear()
