"""``python -P -m parsl_optuna.worker.child CONTROL PARENT GRACE``: the process that trials are forked from.

Imports nothing that takes time before it is sure to end with its parent.
"""

from __future__ import annotations

import signal
import sys

from parsl_optuna.core.processes import adopt_orphans, die_with_parent


def main() -> None:
    """Fork a process per request; ``argv`` is a socket, the parent's process id and the grace in seconds."""
    control, parent, grace_sec = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    die_with_parent(signal.SIGTERM, parent)
    adopt_orphans()
    from parsl_optuna.worker.fork_server import ForkServer  # noqa: PLC0415

    ForkServer(control, grace_sec).serve()


if __name__ == "__main__":
    main()
