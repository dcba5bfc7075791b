"""A name that can be given once, with hard links and without; writers that die at any step."""

import errno
import multiprocessing
import os
import random
from pathlib import Path

import pytest
from parsl_optuna.store import exclusive
from parsl_optuna.store.atomic import write_bytes

FORK = multiprocessing.get_context("fork")


def refuse(*args, **kwargs):
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture
def no_links(monkeypatch):
    monkeypatch.setattr(os, "link", refuse)


def left(folder):
    return [path.name for path in folder.iterdir()]


def write_and_die(path, content, steps):
    """Write as another process that dies before its rename number *steps*."""

    def run():
        original, count = os.rename, iter(range(steps))

        def rename(*args, **kwargs):
            if next(count, None) is None:
                os._exit(9)
            return original(*args, **kwargs)

        os.rename = rename
        write_bytes(path, content, replace=False)
        os._exit(0)

    process = FORK.Process(target=run)
    process.start()
    process.join()
    return process.exitcode


def test_the_first_writer_has_the_name(tmp_path, no_links):
    assert write_bytes(tmp_path / "x", b"first", replace=False)
    assert not write_bytes(tmp_path / "x", b"second", replace=False)

    assert (tmp_path / "x").read_bytes() == b"first"
    assert left(tmp_path) == ["x"]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_writer_that_dies_at_any_step_leaves_one_result(tmp_path, no_links, steps):
    """Before it has the claim, the next one is first; from then on, its own content counts."""
    path = tmp_path / "x"
    assert write_and_die(path, b"first", steps) == 9
    assert not path.exists()

    has_claim = steps == 2
    assert write_bytes(path, b"second", replace=False) is not has_claim
    assert path.read_bytes() == (b"first" if has_claim else b"second")
    assert not exclusive.claim_of(path).exists()
    assert not write_bytes(path, b"third", replace=False)


def test_a_writer_that_ends_is_the_fourth_step(tmp_path, no_links):
    """`test_a_writer_that_dies_at_any_step_leaves_one_result` knows every rename."""
    assert write_and_die(tmp_path / "x", b"first", 3) == 0
    assert (tmp_path / "x").read_bytes() == b"first"


def _compete(path, name, seed, barrier, queue):
    dice = random.Random(seed)
    original = os.rename

    def rename(*args, **kwargs):
        if dice.random() < 0.1:
            os._exit(9)
        for _ in range(dice.randrange(3)):
            os.sched_yield()
        return original(*args, **kwargs)

    os.rename = rename
    barrier.wait()
    queue.put((name, write_bytes(Path(path), name.encode() * 1000, replace=False, durable=False)))
    queue.close()
    queue.join_thread()


@pytest.mark.parametrize("seed", range(12))
def test_of_many_writers_of_whom_some_die_one_has_the_name(tmp_path, no_links, seed):
    barrier, queue = FORK.Barrier(5), FORK.Queue()
    path = tmp_path / "x"
    writers = [
        FORK.Process(target=_compete, args=(str(path), letter, 10 * seed + number, barrier, queue))
        for number, letter in enumerate("abcde")
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=30)
    found = [queue.get(timeout=5) for writer in writers if writer.exitcode == 0]

    write_bytes(path, b"last", replace=False)

    content = path.read_bytes()
    winners = [name for name, won in found if won]
    assert len(winners) <= 1
    assert content == b"last" or len(set(content)) == 1
    if winners:
        assert content == winners[0].encode() * 1000


def test_a_lost_answer_of_the_server_is_no_lost_race(tmp_path, monkeypatch):
    """A network file system can make the link, lose its answer, and refuse the second attempt."""
    original = os.link

    def link(source, target, **kwargs):
        original(source, target, **kwargs)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", link)

    assert write_bytes(tmp_path / "x", b"mine", replace=False)


def test_what_a_dead_writer_left_does_not_come_back(tmp_path, no_links):
    path = tmp_path / "x"
    write_and_die(path, b"first", 2)

    exclusive.drop_claim(path)

    assert write_bytes(path, b"second", replace=False)


def test_a_claim_that_is_no_claim_is_an_error_and_not_a_wait(tmp_path, no_links):
    exclusive.claim_of(tmp_path / "x").write_bytes(b"a file")

    with pytest.raises(OSError, match="cannot be written"):
        write_bytes(tmp_path / "x", b"mine", replace=False)
    assert left(tmp_path) == [".x.claim"]
