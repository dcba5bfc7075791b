"""The process in which trials run, one after another, for a `supervise.Child` in another process.

Reads one request per line from stdin, answers on what was stdout; what tasks print goes to stderr.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import sys
from types import FrameType
from typing import Any, TextIO

from parsl_optuna.core.errors import Preempted, Pruned, WorkflowError
from parsl_optuna.core.records import Request
from parsl_optuna.worker import execute as worker
from parsl_optuna.worker.parent_guard import die_with_parent


class _Stop:
    """Remembers that the scheduler wants the node back."""

    def __init__(self, grace_sec: float) -> None:
        self._grace_sec = grace_sec
        self.asked = self.busy = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if not self.busy:
            os._exit(0)
        self.asked = True
        # Runs without the interpreter's lock, so that nothing can hold it up.
        faulthandler.dump_traceback_later(self._grace_sec, exit=True)


class _Prune:
    """Ends the run when it is pruned, wherever it is; outside of a run it does nothing."""

    def __init__(self) -> None:
        self._running = False

    def begin(self) -> None:
        self._running = True

    def end(self) -> None:
        self._running = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._running:
            self._running = False
            raise Pruned


def main() -> None:
    """Serve requests until stdin closes; ``argv`` is the grace in seconds and the memory in GiB, or 0."""
    grace_sec, memory_gb = float(sys.argv[1]), float(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    faulthandler.enable()
    stop = _Stop(grace_sec)
    signal.signal(signal.SIGTERM, stop)
    prune = _Prune()
    signal.signal(signal.SIGUSR1, prune)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which drains
    die_with_parent(signal.SIGTERM)
    if memory_gb:
        size = int(memory_gb * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    for line in sys.stdin:
        stop.busy = True
        answer = _run(Request.from_json(json.loads(line)), answers, stop, prune)
        _say(answers, answer | {"leaving": stop.asked})
        stop.busy = False
        if stop.asked:
            return


def _run(request: Request, answers: TextIO, stop: _Stop, prune: _Prune) -> dict[str, Any]:
    """Run a trial; return the answer."""

    def begin() -> None:
        prune.begin()  # first: the answer may bring the signal
        _say(answers, {"running": request.trial_id})

    try:
        return {"outcome": worker.execute(request, worker.Hooks(begin, prune.end, lambda: stop.asked))}
    except Preempted:
        return {"preempted": True}
    except WorkflowError as error:
        return {"error": type(error).__name__, "text": str(error)}


def _say(answers: TextIO, data: dict[str, Any]) -> None:
    answers.write(json.dumps(data) + "\n")


if __name__ == "__main__":
    main()
