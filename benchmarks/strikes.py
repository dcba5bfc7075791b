"""Faults for a running study, each with the victim that it finds: its process, and what that was at."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.command import Command

MARK = "PARSL_OPTUNA_CHAOS"
"""Environment variable by which the processes of a round are found: its folder."""

FIND_SEC = 15.0
"""So long a strike looks for a victim in the state that it asks for."""

KILLS = (
    "driver", "process group", "every process", "interchange", "worker pool", "worker, idle", "worker, busy",
    "fork server, starting", "trial, starting", "trial, running", "SIGTERM", "Ctrl-C twice",
    "driver, stopped", "worker pool, stopped", "trial, stopped",
)  # fmt: skip

Victim = dict[str, Any]
"""``what`` was struck, its ``pid``, its ``state``; empty where there was none."""


class Target:
    """A running study as the strikes see it.

    Args:
        folder: Of the round.
        driver: The command.
    """

    def __init__(self, folder: Path, driver: Command) -> None:
        self.folder, self.driver = folder, driver

    def n_ended(self) -> int:
        """Count the trials with an outcome."""
        return len(list(self.folder.glob("artifacts/runs/*/guess/*/metrics.json")))

    def pools(self) -> list[psutil.Process]:
        """Return Parsl's worker pools."""
        return [one for one in processes(self.folder) if "execution.watched_pool" in " ".join(one.cmdline())]

    def interchanges(self) -> list[psutil.Process]:
        """Return the interchange, a child of the driver; it renames itself, which wipes its environment."""
        return _children(psutil.Process(self.driver.pid), "interchange")

    def workers(self) -> list[psutil.Process]:
        """Return the workers of all pools."""
        return [worker for pool in self.pools() for worker in _children(pool, "spawn_main")]

    def servers(self) -> list[psutil.Process]:
        """Return the processes that trials are forked from."""
        return [one for worker in self.workers() for one in _children(worker, "parsl_optuna.worker.child")]


def processes(folder: Path) -> list[psutil.Process]:
    """Return the living processes of a round, by their environment or their working folder."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if one.status() == psutil.STATUS_ZOMBIE:
                continue
            is_inside = Path(one.cwd()).is_relative_to(folder)
            if is_inside or one.environ().get(MARK) == str(folder):
                found.append(one)
    return found


def strike(kind: str, target: Target, draw: random.Random) -> Victim:
    """Do what a kind of fault is, and return its victim as it was just before."""
    with contextlib.suppress(psutil.Error, OSError):
        return _STRIKES[kind](target, draw)
    return {}


def _children(parent: psutil.Process, word: str) -> list[psutil.Process]:
    found = []
    with contextlib.suppress(psutil.Error):
        for one in parent.children():
            with contextlib.suppress(psutil.Error):
                if word in " ".join(one.cmdline()) and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(one)
    return found


def _first(find: Callable[[], list[psutil.Process]], target: Target, draw: random.Random) -> psutil.Process:
    """Return one of what is looked for, as soon as there is any; raises `OSError` when there is none."""
    limit = time.monotonic() + FIND_SEC
    while time.monotonic() < limit and target.driver.poll() is None:
        found = find()
        if found:
            return draw.choice(found)
        time.sleep(0.03)
    raise ProcessLookupError


def _hit(what: str, one: psutil.Process, number: int, state: str) -> Victim:
    victim = {"what": what, "pid": one.pid, "state": state}
    one.send_signal(number)  # raises where it has ended
    return victim


def _driver(number: int, *, is_group: bool = False, pauses: tuple[float, ...] = ()) -> Callable[..., Victim]:
    def act(target: Target, draw: random.Random) -> Victim:
        victim = {"what": "driver", "pid": target.driver.pid, "state": f"{target.n_ended()} trials ended"}
        for pause in (*pauses, None):
            if target.driver.poll() is not None:
                return victim if pauses and pause is None else {}
            os.killpg(target.driver.pid, number) if is_group else target.driver.send_signal(number)
            time.sleep(draw.uniform(0.0, pause) if pause is not None else 0.0)
        return victim

    return act


def _every_process(target: Target, draw: random.Random) -> Victim:
    del draw
    found = [*target.interchanges(), *processes(target.folder)]
    victim = {
        "what": "every process",
        "pid": target.driver.pid,
        "state": f"{len({one.pid for one in found})} processes",
    }
    for one in found:
        with contextlib.suppress(psutil.Error):
            one.kill()
    return victim


def _interchange(target: Target, draw: random.Random) -> Victim:
    one = _first(target.interchanges, target, draw)
    return _hit("interchange", one, signal.SIGKILL, f"{target.n_ended()} trials ended")


def _pool(target: Target, draw: random.Random) -> Victim:
    one = _first(target.pools, target, draw)
    return _hit("worker pool", one, signal.SIGKILL, f"{len(_children(one, 'spawn_main'))} workers")


def _worker(*, is_busy: bool) -> Callable[..., Victim]:
    def act(target: Target, draw: random.Random) -> Victim:
        def found() -> list[psutil.Process]:
            return [one for one in target.workers() if bool(_trials_of(one)) == is_busy]

        one = _first(found, target, draw)
        trials = _trials_of(one)
        if bool(trials) != is_busy:  # it changed meanwhile
            return act(target, draw)
        return _hit("worker", one, signal.SIGKILL, f"trial {trials[0]}" if trials else "idle")

    return act


def _trials_of(worker: psutil.Process) -> list[int]:
    servers = _children(worker, "parsl_optuna.worker.child")
    return [pid for server in servers for pid in _forked(server.pid)]


def _forked(pid: int) -> list[int]:
    """Return the children of a process; from one file, so that young ones are found."""
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _server_starting(target: Target, draw: random.Random) -> Victim:
    """Kill a process that trials are forked from as it starts; first one that is there, which is replaced."""
    old = _first(target.servers, target, draw)
    known = {one.pid for one in target.servers()}
    if time.time() - old.create_time() > 1.0:
        old.kill()
    else:
        known.discard(old.pid)
    one = _first(lambda: [one for one in target.servers() if one.pid not in known], target, draw)
    time.sleep(draw.uniform(0.0, 0.2))
    return _hit("fork server", one, signal.SIGKILL, f"{1000 * (time.time() - one.create_time()):.0f} ms old")


def _trial(*, young: bool, number: int = signal.SIGKILL) -> Callable[..., Victim]:
    def act(target: Target, draw: random.Random) -> Victim:
        servers = target.servers()
        known = {pid for server in servers for pid in _forked(server.pid)} if young else set[int]()
        limit = time.monotonic() + FIND_SEC
        while time.monotonic() < limit and target.driver.poll() is None:
            for server in servers:
                for pid in set(_forked(server.pid)) - known:
                    time.sleep(draw.uniform(0.0, 0.02) if young else draw.uniform(0.05, 0.15))
                    with contextlib.suppress(psutil.Error):
                        one = psutil.Process(pid)
                        age = 1000 * (time.time() - one.create_time())
                        victim = _hit("trial", one, number, f"{age:.0f} ms after its fork")
                        if number == signal.SIGSTOP:
                            time.sleep(draw.uniform(1, 8))
                            one.send_signal(signal.SIGCONT)
                        return victim
            time.sleep(0.001)
        return {}

    return act


def _stopped(what: str, found: Callable[[Target], list[psutil.Process]]) -> Callable[..., Victim]:
    def act(target: Target, draw: random.Random) -> Victim:
        one = _first(lambda: found(target), target, draw)
        seconds = draw.uniform(1, 12)
        victim = _hit(what, one, signal.SIGSTOP, f"for {seconds:.1f} s, {target.n_ended()} trials ended")
        with _continued(one):
            time.sleep(seconds)
        return victim

    return act


@contextlib.contextmanager
def _continued(one: psutil.Process) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(psutil.Error):
            one.send_signal(signal.SIGCONT)


_STRIKES: dict[str, Callable[[Target, random.Random], Victim]] = {
    "driver": _driver(signal.SIGKILL),
    "process group": _driver(signal.SIGKILL, is_group=True),
    "every process": _every_process,
    "interchange": _interchange,
    "worker pool": _pool,
    "worker, idle": _worker(is_busy=False),
    "worker, busy": _worker(is_busy=True),
    "fork server, starting": _server_starting,
    "trial, starting": _trial(young=True),
    "trial, running": _trial(young=False),
    "SIGTERM": _driver(signal.SIGTERM),
    "Ctrl-C twice": _driver(signal.SIGINT, is_group=True, pauses=(1.0,)),
    "driver, stopped": _stopped("driver", lambda target: [psutil.Process(target.driver.pid)]),
    "worker pool, stopped": _stopped("worker pool", Target.pools),
    "trial, stopped": _trial(young=False, number=signal.SIGSTOP),
}
