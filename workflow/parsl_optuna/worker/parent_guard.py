"""``python -m parsl_optuna.worker.parent_guard COMMAND…``: become COMMAND, and end when the parent ends.

A driver that is killed cannot stop Parsl's interchange, and an interchange without a driver keeps its
workers, and their nodes, for good. The wish to be killed along survives the exec.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int) -> None:
    """Ask Linux for a signal when the parent ends; elsewhere do nothing."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    except (OSError, AttributeError):
        return


if __name__ == "__main__":
    die_with_parent(signal.SIGKILL)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  no shell is wanted
