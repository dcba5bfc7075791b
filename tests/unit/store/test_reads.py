import os
import threading

import pytest
from parsl_optuna.store.reads import Reads, checksum, mark, noted


@pytest.fixture
def place(tmp_path):
    """Folders as a trial has them: launch, working folder, artifacts; and the reads of that trial."""
    launch, root = tmp_path / "launch", tmp_path / "launch" / "artifacts"
    folder = root / "runs" / "r" / "files"
    folder.mkdir(parents=True)
    (launch / "data.csv").write_text("1", encoding="utf-8")
    return launch, folder, Reads(launch, folder, root)


def test_what_is_read_is_known_by_its_path_from_where_the_command_was_started(place):
    launch, _, reads = place

    with noted(reads):
        (launch / "data.csv").read_text(encoding="utf-8")

    assert reads.among({}) == {"data.csv": checksum(launch / "data.csv")}


def test_the_copy_in_the_working_folder_counts_as_it_was_read(place, monkeypatch):
    """It may be that of an earlier attempt, before the file was edited."""
    launch, folder, reads = place
    (folder / "data.csv").write_text("old", encoding="utf-8")
    monkeypatch.chdir(folder)

    with noted(reads), open("data.csv", encoding="utf-8") as stream:  # noqa: PTH123
        stream.read()

    assert reads.among({}) == {"data.csv": checksum(folder / "data.csv")}
    assert reads.among({})["data.csv"] != checksum(launch / "data.csv")


def test_the_mark_is_that_of_the_time_when_it_was_read(place):
    launch, _, reads = place
    before = checksum(launch / "data.csv")

    with noted(reads):
        (launch / "data.csv").read_bytes()
    (launch / "data.csv").write_text("edited", encoding="utf-8")

    assert reads.among({}) == {"data.csv": before}


def test_what_the_trial_writes_is_no_input(place):
    launch, folder, reads = place

    with noted(reads):
        (folder / "own.txt").write_text("x", encoding="utf-8")
        (folder / "own.txt").read_bytes()
        (launch / "data.csv").read_bytes()
        with (launch / "data.csv").open("a", encoding="utf-8") as stream:
            stream.write("2")

    assert reads.among({"data.csv": "seen elsewhere", "obj.py": "code"}) == {"obj.py": "code"}


def test_what_is_no_file_of_the_users_is_left_out(place):
    launch, folder, reads = place
    (folder.parent / "progress.jsonl").write_text("", encoding="utf-8")

    with noted(reads):
        for path in (os.__file__, os.devnull, launch, launch / "missing", folder.parent / "progress.jsonl"):
            try:
                with open(path, "rb"):  # noqa: PTH123
                    pass
            except OSError:
                continue

    assert reads.among({}) == {}


def test_what_the_engine_opens_is_nobodys_input(place):
    launch, _, reads = place

    with noted(reads), noted(None):
        (launch / "data.csv").read_bytes()
    (launch / "data.csv").read_bytes()

    assert reads.among({}) == {}


def test_threads_of_the_trial_count(place):
    launch, _, reads = place

    with noted(reads):
        one = threading.Thread(target=(launch / "data.csv").read_bytes)
        one.start()
        one.join()

    assert list(reads.among({})) == ["data.csv"]


def test_threads_that_ran_before_do_not(tmp_path):
    """Inline, the driver shows in a file that it lives."""
    (tmp_path / "driver.lock").write_text("", encoding="utf-8")
    begin, done = threading.Event(), threading.Event()

    def beat():
        begin.wait()
        (tmp_path / "driver.lock").read_bytes()
        done.set()

    threading.Thread(target=beat).start()
    reads = Reads(tmp_path, None, tmp_path / "artifacts")

    with noted(reads):
        begin.set()
        done.wait()

    assert reads.among({}) == {}


def test_a_large_file_is_told_by_its_size_and_time(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as stream:
        stream.truncate(2**24 + 1)
    before = mark(path)
    os.utime(path, ns=(0, 1))

    assert before.startswith(f"{2**24 + 1} ")
    assert mark(path) != before
