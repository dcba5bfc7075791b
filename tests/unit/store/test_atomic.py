import contextlib
import errno
import multiprocessing
import os
from pathlib import Path

import pytest
from parsl_optuna.core.errors import StoreError
from parsl_optuna.store.atomic import check_disk, write_bytes


def test_a_crash_at_any_system_call_leaves_the_old_file_or_the_new_one(tmp_path, monkeypatch):
    """Every call that touches the disk is made to fail in turn; the file is never in between."""
    path = tmp_path / "x"
    calls = ["fsync", "replace", "link"]
    for name in calls:
        write_bytes(path, b"old")

        def crash(*args, **kwargs):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            if name == "replace":
                patch.setattr(Path, "replace", crash)
            else:
                patch.setattr(os, name, crash)
            try:
                write_bytes(path, b"new", replace=name != "link")
            except StoreError as error:
                assert "No space left" in str(error)  # noqa: PT017
        assert path.read_bytes() in (b"old", b"new")
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("replace", [True, False])
def test_content_is_on_disk_before_it_has_its_name_and_the_name_is_before_the_call_returns(
    tmp_path, syncs, replace
):
    """A power failure is survived by what was synced alone: another order loses the file, or its content."""
    path = tmp_path / "x"
    seen = syncs(path)

    write_bytes(path, b"new", replace=replace)

    assert seen == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def test_a_file_beside_is_synced_before_the_folder_that_has_its_name(tmp_path, syncs):
    path, beside = tmp_path / "x", tmp_path / "beside"
    write_bytes(beside, b"", durable=False)
    seen = syncs(path)

    write_bytes(path, b"new", beside=beside)

    inodes = [one.stat().st_ino for one in (path, beside, tmp_path)]
    assert [inode for inode, _ in seen] == inodes


def test_what_need_not_outlive_a_power_failure_costs_no_sync(tmp_path, syncs):
    seen = syncs(tmp_path / "x")

    write_bytes(tmp_path / "x", b"new", durable=False)

    assert seen == []


def _compete(path, name, barrier, queue):
    barrier.wait()
    queue.put((name, write_bytes(Path(path), name.encode() * 1000, replace=False)))


def test_of_many_exclusive_writers_exactly_one_wins(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(6), context.Queue()
    path = tmp_path / "x"
    writers = [
        context.Process(target=_compete, args=(str(path), letter, barrier, queue)) for letter in "abcdef"
    ]
    for writer in writers:
        writer.start()
    results = dict(queue.get(timeout=20) for _ in writers)
    for writer in writers:
        writer.join()

    winners = [name for name, won in results.items() if won]
    assert len(winners) == 1
    assert path.read_bytes() == winners[0].encode() * 1000


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(StoreError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "x", b"")


def test_a_link_that_leads_nowhere_is_told(tmp_path):
    """As one to a scratch file system that is not mounted; the system says that the file exists."""
    (tmp_path / "results").symlink_to(tmp_path / "gone")

    with pytest.raises(StoreError, match=r"results is a link to .*gone, which is not there; "):
        write_bytes(tmp_path / "results" / "studies" / "file", b"")


@pytest.mark.parametrize(
    ("number", "is_fault"), [(errno.ENOSPC, True), (errno.EIO, True), (errno.EFBIG, False)]
)
def test_a_disk_is_tried_and_limits_of_the_process_do_not_count(tmp_path, monkeypatch, number, is_fault):
    check_disk(tmp_path)

    def fail(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError) if is_fault else contextlib.nullcontext():
        check_disk(tmp_path)

    assert not list(tmp_path.iterdir())
