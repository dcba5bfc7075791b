"""Every error that a user can meet. One line each: what happened, where, what would be right.

Each class also inherits the builtin it refines, so callers outside this package can catch that.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WorkflowError(Exception):
    """The base of all errors that the command line prints as one line with exit code 2."""


class SpecError(WorkflowError, ValueError):
    """Something the user wrote is wrong: a key, a value, a range, a preset, a file name."""


class MetricNameError(SpecError):
    """A metric has a name that no metric can have; every trial of the same code reports it."""


class TaskError(WorkflowError, RuntimeError):
    """A task cannot do what its manifest asks for."""


class CorruptArtifact(WorkflowError, ValueError):
    """A file in the artifacts is unreadable, or disagrees with the id it is stored under."""


class StoreError(WorkflowError, OSError):
    """The artifacts or results folder cannot be read or written."""


class NewerSchema(StoreError):
    """A file was written by a newer version of the program."""


class HeldError(WorkflowError, RuntimeError):
    """Another driver is at work on the same results."""


class ExecutorError(WorkflowError, RuntimeError):
    """The workers cannot be started or have gone for good."""


class WorkerLost(WorkflowError, RuntimeError):
    """A worker was lost while it ran a trial; whether the trial caused it is unknown."""


class BlockLost(WorkerLost):
    """A whole block of workers was lost: cancelled, out of walltime, node down, interchange dead."""


class NodeReclaimed(WorkerLost):
    """The scheduler took the node back and the trial saved its progress."""


class NotStarted(WorkflowError):
    """The driver is leaving, and the trial had not begun."""


class Preempted(BaseException):
    """The scheduler wants the node back and the trial has saved its state; not to be swallowed."""


class Pruned(BaseException):
    """The trial is pruned: it stops now. Not to be swallowed."""


class Mistakes:
    """Collects the messages of several `WorkflowError`s, so that all are reported at once."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Add one."""
        self._lines.append(line)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, WorkflowError):
            self._lines += str(error).splitlines()
            return True
        return False

    def raise_any(self) -> None:
        """Raise `SpecError` with all of them, if there are any."""
        if self._lines:
            raise SpecError("\n".join(dict.fromkeys(self._lines)))


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which of *known* the user may have meant, or list them all."""
    options = sorted(str(option) for option in known)
    match = [option for option in options if option.casefold() == str(name).casefold()]
    match = match or difflib.get_close_matches(str(name), options, n=1, cutoff=0.5)
    if match:
        return f"did you mean '{match[0]}'?"
    return f"known: {', '.join(options)}" if options else "nothing is allowed here"
