"""Every place where a crash can cut a run: each system call that changes the disk, one after another."""

import os

import pytest
from parsl_optuna.store.artifacts import ArtifactStore

from tests.toyrun import drive, rows, toy_plan

pytestmark = pytest.mark.system

CALLS = ("link", "rename", "replace", "fsync", "mkdir", "unlink", "open")


class Crash(KeyboardInterrupt):
    """The machine goes down. Anything else that is raised within a task is its own, and its outcome."""


class Fuse:
    """Lets so many system calls through, then crashes, before or after the call that was one too many."""

    def __init__(self, monkeypatch, left, *, after):
        self.left, self._after = left, after
        self.used = 0
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrapped(getattr(os, name)))

    def _wrapped(self, call):
        def wrapper(*args, **kwargs):
            if call.__name__ == "open" and not args[1] & (os.O_CREAT | os.O_WRONLY):
                return call(*args, **kwargs)
            self.used += 1
            if self.used < self.left:
                return call(*args, **kwargs)
            if self.used == self.left:
                if self._after:
                    call(*args, **kwargs)
                raise Crash
            raise Crash  # a dead machine does nothing more, clean-up included

        return wrapper


def small_plan():
    return toy_plan(max_trials=3, batch_size=1, confirm=1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return rows(drive(small_plan(), tmp_path_factory.mktemp("calm")))


def count_calls(folder):
    with pytest.MonkeyPatch.context() as patch:
        fuse = Fuse(patch, 10**9, after=False)
        drive(small_plan(), folder)
    return fuse.used


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_write_loses_nothing_and_repeats_nothing(tmp_path, undisturbed, after):
    total = count_calls(tmp_path / "count")
    assert total > 40

    for left in range(1, total + 1):
        folder = tmp_path / f"{left}"
        with pytest.MonkeyPatch.context() as patch:
            Fuse(patch, left, after=after)
            with pytest.raises(Crash):
                drive(small_plan(), folder)
        before = committed(folder)

        resumed = drive(small_plan(), folder)

        assert rows(resumed) == undisturbed, f"crash at call {left} of {total}"
        assert {path: committed(folder)[path] for path in before} == before
        assert drive(small_plan(), folder).n_started == 0


def committed(folder):
    return {path: path.read_bytes() for path in ArtifactStore(folder).paths.runs.glob("*/*/*/metrics.json")}
