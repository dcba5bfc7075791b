"""``python -m parsl_optuna.execution.watched_pool …``: Parsl's worker pool, watched.

It leaves when nobody serves it. The pool itself gives up an interchange that falls silent, but only one that
it has registered with: if the driver is killed between the pool's first probe and its registration, it waits
for ever, and holds its node until the walltime. This watches the interchange's port from the first moment.
A pool that does give up may wait for ever as well, for a thread that has ended to take the result of a trial;
then it is ended from here.

Its workers have a pipe each (`links`), so that the others go on where one is killed, and the driver can
have a worker replaced by a file.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import parsl.multiprocessing
from parsl.executors.high_throughput import probe, process_worker_pool

from parsl_optuna.execution.links import Links
from parsl_optuna.execution.script import LAUNCH_DIR

_CONNECT_SEC = 5.0
"""For a connection within one cluster; it takes milliseconds."""

_REFUSALS = 2
"""Refused so many times in a row where someone had listened before, nobody will listen again."""

_TALKER = "Interchange-Communicator"
"""Name of the pool's thread that talks to the interchange; it ends first when the pool leaves."""

_LEAVE_SEC = 10.0
"""Parsl gives its workers one second, and the rest takes less."""

REPLACE = "replace"
"""Folder in the pools' log folder; a file in it names a task whose worker is to be killed."""


class Service:
    """Whether somebody listens for this pool.

    Args:
        addresses: Where to look.
        port: Of the interchange.
    """

    def __init__(self, addresses: Sequence[str], port: int) -> None:
        self._addresses, self._port = list(addresses), port
        self._refusals, self._was_there = 0, False

    def is_there(self) -> bool:
        """Whether a process listens on the port at any of the addresses; the one that does is asked first."""
        for index, address in enumerate(self._addresses):
            try:
                socket.create_connection((address, self._port), timeout=_CONNECT_SEC).close()
            except ConnectionRefusedError:
                self._refusals += self._was_there and index == 0
            except OSError:
                continue
            else:
                self._refusals, self._was_there = 0, True
                self._addresses.insert(0, self._addresses.pop(index))
                return True
        return False

    @property
    def is_gone(self) -> bool:
        """Whether the machine that listened answers, and nobody listens there any more."""
        return self._refusals >= _REFUSALS


def leave_when_unserved(service: Service, period_sec: float, most_sec: float) -> None:
    """End this process, and its workers with it, once nobody has listened for *most_sec*; return never."""
    served_at = time.monotonic()
    while True:
        if service.is_there():
            served_at = time.monotonic()
        if service.is_gone or time.monotonic() - served_at > most_sec:
            break
        time.sleep(period_sec)
    os._exit(1)  # the thread that waits for the interchange cannot be told to end


def leave_with_talker(period_sec: float) -> None:
    """End this process some time after the thread that talks to the interchange; return never."""
    had_one = False
    while True:
        has_one = any(thread.name == _TALKER for thread in threading.enumerate())
        if had_one and not has_one:
            time.sleep(_LEAVE_SEC)
            os._exit(1)
        had_one = has_one
        time.sleep(period_sec)


def replace_workers(links: Links, folder: Path, period_sec: float) -> None:
    """Kill the workers of tasks that are named in a folder; Parsl replaces them. Return never."""
    while True:
        time.sleep(period_sec)
        with contextlib.suppress(OSError, ValueError):
            for path in folder.iterdir():
                if links.kill(int(path.name)):
                    path.unlink(missing_ok=True)


def probe_anonymously() -> None:
    """Let Parsl probe addresses from sockets without the pool's identity.

    The interchange drops a connection of an identity that it still has another one of. As Parsl (2026.10.26)
    probes under the identity that the pool connects with a moment later, the pool was now and then dropped,
    and waited for an answer without end.
    """
    probed = probe.probe_addresses

    def anonymous(*args: Any, identity: bytes | None = None, **kwargs: Any) -> Any:
        del identity
        return probed(*args, **kwargs)

    probe.probe_addresses = anonymous


def main() -> None:
    """Run Parsl's pool with its own arguments, under watch."""
    asked, _ = process_worker_pool.get_arg_parser().parse_known_args()
    period_sec, links = float(asked.hb_period), Links()
    service = Service(asked.addresses.split(","), int(asked.port))
    watches = (
        (leave_when_unserved, (service, period_sec, float(asked.hb_threshold))),
        (leave_with_talker, (period_sec,)),
        (replace_workers, (links, Path(asked.logdir) / REPLACE, period_sec)),
    )
    for watch, arguments in watches:
        threading.Thread(target=watch, args=arguments, daemon=True).start()
    sys.path.append(os.environ.get(LAUNCH_DIR) or str(Path.cwd()))  # last, so that it hides nothing
    sys.argv[0] = process_worker_pool.__file__
    parsl.multiprocessing.SpawnContext = links  # type: ignore[assignment]
    probe_anonymously()
    try:
        # As the main module, whence its workers are spawned.
        runpy.run_path(process_worker_pool.__file__, run_name="__main__")
    except ConnectionError:
        sys.exit(
            f"no driver answers at {asked.addresses}, port {asked.port}, from {socket.gethostname()}; set "
            "cluster.address to an address of the driver's machine that the nodes reach"
        )


if __name__ == "__main__":
    main()
