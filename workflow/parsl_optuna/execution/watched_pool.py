"""``python -m parsl_optuna.execution.watched_pool …``: Parsl's worker pool; leaves when nobody serves it.

The pool itself gives up an interchange that falls silent, but only one that it has registered with: if
the driver is killed between the pool's first probe and its registration, it waits for ever, and holds its
node until the walltime. This watches the interchange's port from the first moment.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import sys
import threading
import time
from collections.abc import Sequence

from parsl.executors.high_throughput import process_worker_pool

_CONNECT_SEC = 5.0


def is_served(addresses: Sequence[str], port: int) -> bool:
    """Whether a process listens on *port* at any of these addresses."""
    for address in addresses:
        try:
            socket.create_connection((address, port), timeout=_CONNECT_SEC).close()
        except OSError:
            continue
        return True
    return False


def leave_when_unserved(addresses: Sequence[str], port: int, period_sec: float, most_sec: float) -> None:
    """End this process and its children once nobody has listened for *most_sec*; return never."""
    served_at = time.monotonic()
    while time.monotonic() - served_at <= most_sec:
        time.sleep(period_sec)
        if is_served(addresses, port):
            served_at = time.monotonic()
    for child in multiprocessing.active_children():
        child.terminate()
    os._exit(1)  # the thread that waits for the interchange cannot be told to end


def main() -> None:
    """Run Parsl's pool with its own arguments, under watch."""
    asked, _ = process_worker_pool.get_arg_parser().parse_known_args()
    watched = (asked.addresses.split(","), int(asked.port), float(asked.hb_period), float(asked.hb_threshold))
    threading.Thread(target=leave_when_unserved, args=watched, daemon=True).start()
    sys.argv[0] = process_worker_pool.__file__
    runpy.run_path(process_worker_pool.__file__, run_name="__main__")  # whence its workers are spawned


if __name__ == "__main__":
    main()
