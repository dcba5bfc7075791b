"""The process of one trial: sets up its surroundings, runs it, says how it ended."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from parsl_optuna.core.errors import Preempted, Pruned, StoreError, WorkflowError
from parsl_optuna.core.processes import die_with_parent, drop_in_forks
from parsl_optuna.core.records import Request
from parsl_optuna.worker import execute as worker
from parsl_optuna.worker import provenance
from parsl_optuna.worker.apart import LAUNCH_DIR
from parsl_optuna.worker.messages import ENGINE_FAULT, Voice
from parsl_optuna.worker.preload import is_loadable


class _Stop:
    """Remembers that the scheduler wants the node back."""

    def __init__(self, voice: Voice, grace_sec: float) -> None:
        self._voice, self._grace_sec = voice, grace_sec
        self.is_asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.is_asked = True
        self._voice.try_to_say(told_to_stop=True)
        # Runs without the interpreter's lock, so that nothing can hold it up.
        faulthandler.dump_traceback_later(self._grace_sec, exit=True)


class _Prune:
    """Ends the run when it is pruned, wherever it is; outside of a run it does nothing."""

    def __init__(self) -> None:
        self.is_running = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.is_running:
            self.is_running = False
            raise Pruned


@dataclass(frozen=True)
class _Before:
    """What the process had before it ran a task."""

    modules: frozenset[str]
    environment: Mapping[str, str]


def main(request: dict[str, Any], descriptors: Sequence[int], parent: int, grace_sec: float) -> None:
    """Serve a request and end this process.

    Args:
        request: ``token``; ``request``, as `Request.to_json` gives it, of a trial, or without a trial id
            of a problem that is to be prepared; ``commits``, what git is known to say.
        descriptors: Pipes for messages, stdout and stderr.
        parent: The process id of the one that forked this one.
        grace_sec: How long saving progress may take.
    """
    os.setsid()  # so that killing this process's group reaches what it starts
    die_with_parent(signal.SIGKILL, parent)
    messages, stdout, stderr = descriptors
    _take_streams(stdout, stderr)
    voice = Voice(messages, request["token"])
    stop, prune = _Stop(voice, grace_sec), _Prune()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGUSR1, prune)
    drop_in_forks({signal.SIGTERM: stop, signal.SIGUSR1: prune})
    faulthandler.enable()
    code = ENGINE_FAULT
    try:
        os.environ[LAUNCH_DIR] = request["request"]["launch"]
        before = _Before(frozenset(sys.modules), dict(os.environ))
        _surround(request)
        _serve(request, voice, stop, prune)
        voice.try_to_say(loaded=_loaded_since(before), commits=provenance.commits)
        code = 0
    except Preempted:
        voice.try_to_say(preempted=True)
        code = 0
    except WorkflowError as error:
        voice.try_to_say(error=type(error).__name__, text=str(error))
    except BaseException as error:  # the engine's own failure is told, and is no outcome
        kind = "lost" if isinstance(error, (OSError, MemoryError)) else "fault"
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        voice.try_to_say(engine=kind, text=f"{type(error).__name__}: {error} ({where})")
        traceback.print_exc()
    finally:
        _leave(code)


def _serve(request: Mapping[str, Any], voice: Voice, stop: _Stop, prune: _Prune) -> None:
    asked = Request.from_json(request["request"])
    if not asked.trial_id:
        worker.prepare(asked)
        return

    def begin() -> None:
        prune.is_running = True  # first: the answer may bring the signal
        voice.say(begun=True)

    def end() -> None:
        prune.is_running = False

    finish = worker.begin(asked, worker.Hooks(begin, end, lambda: stop.is_asked, is_own_process=True))
    try:
        finish()
    except StoreError:
        # The task may have left this process without what writing takes; the supervisor can try.
        voice.try_to_say(uncommitted=finish.data)
        raise


def _take_streams(stdout: int, stderr: int) -> None:
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    # What was printed before a crash is what tells of it.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _surround(request: Mapping[str, Any]) -> None:
    provenance.commits.update(request["commits"])
    memory_gb = request["request"]["limits"]["memory_gb"]
    if memory_gb:
        size = int(memory_gb * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _loaded_since(before: _Before) -> list[str]:
    """Return the modules to load before later forks.

    None where the task changed the environment: it may have meant libraries to see that when they load.
    """
    if dict(os.environ) != before.environment:
        return []
    return [name for name in sys.modules if name not in before.modules and is_loadable(name)]


def _leave(code: int) -> None:
    """End at once: neither threads nor exit handlers of a task can keep the process."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, or another object by now
            stream.flush()
    os._exit(code)
