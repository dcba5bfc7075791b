"""``python -P -m parsl_optuna.worker.parent_guard PARENT OUTPUT COMMAND…``: become COMMAND, end with PARENT.

What COMMAND prints goes to the file OUTPUT, and Ctrl-C in the parent's terminal does not reach it.

A driver that is killed cannot stop Parsl's interchange, and an interchange without a driver keeps its
workers, and their nodes, for good. The wish to be killed along survives the exec.
"""

from __future__ import annotations

import os
import signal
import sys

from parsl_optuna.core.processes import die_with_parent

if __name__ == "__main__":
    die_with_parent(signal.SIGKILL, int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606  no shell is wanted
