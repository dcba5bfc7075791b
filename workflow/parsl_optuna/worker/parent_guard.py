"""``python -m parsl_optuna.worker.parent_guard OUTPUT COMMAND…``: become COMMAND, and end with the parent.

What COMMAND prints goes to the file OUTPUT, and Ctrl-C in the parent's terminal does not reach it.

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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  no shell is wanted
