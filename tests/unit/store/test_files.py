"""Inputs of a working folder, and what is kept of it."""

import os

import pytest
from parsl_optuna.store import files
from parsl_optuna.store.files import followed, mentioned, provide, settle


@pytest.fixture
def launch(tmp_path):
    """A folder with data and programs, in which a command was started."""
    folder = tmp_path / "launch"
    (folder / "data" / "raw").mkdir(parents=True)
    (folder / "data" / "train.csv").write_text("1,2")
    (folder / "data" / "raw" / "a.csv").write_text("3")
    (folder / "metric name.txt").write_text("loss")
    (folder / "helper.py").write_text("NAMES = open('more.txt').read()\n")
    (folder / "more.txt").write_text("more")
    (folder / "other.txt").write_text("not named by anybody")
    (folder / "train.py").write_text(
        "import helper\nname = open('metric name.txt').read()\nrows = open(f'data/{name}.csv')\n"
    )
    return folder


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "artifacts" / "files"


def test_what_a_program_and_its_modules_name_is_found(launch):
    found = mentioned([launch / "train.py"], launch)

    assert {"metric name.txt", "data/", "more.txt"} <= set(found)
    assert "other.txt" not in found


@pytest.mark.parametrize("text", ["f'data/raw/{name}.csv'", "data/raw/a_$1.csv", "'data/raw/%s.csv' % name"])
def test_the_folder_is_found_of_a_name_that_is_made_up_at_run_time(launch, text):
    (launch / "run.py").write_text(text)

    assert "data/raw" in mentioned([launch / "run.py"], launch)


def test_the_modules_of_a_program_that_a_shell_script_starts_are_found(launch):
    (launch / "src").mkdir()
    (launch / "src" / "main.py").write_text("import util")
    (launch / "src" / "util.py").write_text("K = 1")
    (launch / "run.sh").write_text("python src/main.py")

    assert {"src/main.py", "src/util.py"} <= set(mentioned([launch / "run.sh"], launch))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x" * (2**20 + 1)])
def test_what_is_no_program_names_nothing(launch, content):
    (launch / "model.bin").write_bytes(content)

    assert mentioned([launch / "model.bin", launch / "gone.py"], launch) == []


def test_files_and_folders_are_there_by_the_same_paths(launch, folder):
    provide(["data", "metric name.txt"], launch, folder)

    assert (folder / "data" / "raw" / "a.csv").read_text() == "3"
    assert (folder / "metric name.txt").read_text() == "loss"


def test_what_a_trial_writes_to_its_inputs_changes_no_other_one(launch, folder):
    provide(["data"], launch, folder)

    (folder / "data" / "train.csv").write_text("changed")
    (folder / "data" / "new.csv").write_text("new")

    assert (launch / "data" / "train.csv").read_text() == "1,2"
    assert not (launch / "data" / "new.csv").exists()


def test_a_file_that_was_edited_since_an_earlier_attempt_is_there_anew(launch, folder):
    (launch / "data" / "train.csv").write_text("old")
    os.utime(launch / "data" / "train.csv", ns=(0, 10**9))
    provide(["data"], launch, folder)
    (launch / "data" / "train.csv").write_text("edited")

    provide(["data"], launch, folder)

    assert (folder / "data" / "train.csv").read_text() == "edited"


def test_what_an_earlier_attempt_wrote_to_its_inputs_is_still_there(launch, folder):
    provide(["data"], launch, folder)
    (folder / "data" / "train.csv").write_text("half done")

    provide(["data"], launch, folder)

    assert (folder / "data" / "train.csv").read_text() == "half done"


def test_a_large_file_is_linked(launch, folder, monkeypatch):
    monkeypatch.setattr(files, "_COPIED_BYTES", 2)

    provide(["data/train.csv", "data/raw/a.csv"], launch, folder)

    assert (folder / "data" / "train.csv").is_symlink()
    assert not (folder / "data" / "raw" / "a.csv").is_symlink()


def test_a_folder_of_many_files_is_linked(launch, folder, monkeypatch):
    monkeypatch.setattr(files, "_MOST_ENTRIES", 1)

    provide(["data"], launch, folder)

    assert (folder / "data").is_symlink()


@pytest.mark.parametrize("name", ["", ".", "..", "../launch/more.txt", "nowhere", "a\0b", "x" * 300])
def test_what_is_no_input_is_passed_over(launch, folder, name):
    provide([name], launch, folder)

    assert not folder.exists()


def test_a_folder_that_holds_the_working_folder_is_no_input(launch):
    inside = launch / "results" / "files"
    inside.mkdir(parents=True)

    provide(["results"], launch, inside)

    assert list(inside.iterdir()) == []


def test_unchanged_inputs_are_not_kept_and_changed_ones_are(launch, folder):
    provide(["data", "more.txt"], launch, folder)
    (folder / "more.txt").write_text("changed")
    (folder / "out.txt").write_text("result")

    removed = settle(folder, launch, ["*"], None)

    assert removed == []
    assert sorted(path.name for path in folder.iterdir()) == ["more.txt", "out.txt"]


def test_only_what_is_wanted_is_kept_smaller_files_first(launch, folder):
    folder.mkdir(parents=True)
    for name, size in [("a.txt", 10), ("b.txt", 2**20), ("c.bin", 1)]:
        (folder / name).write_bytes(b"x" * size)

    removed = settle(folder, launch, ["*.txt"], 0.5)

    assert removed == ["b.txt", "c.bin"]
    assert [path.name for path in folder.iterdir()] == ["a.txt"]


def test_programs_are_followed_into_modules_and_programs_that_they_name(launch):
    (launch / "run.sh").write_text("python train.py\n")

    found = followed([launch / "run.sh"], launch)

    assert {path.name for path in found} == {"run.sh", "train.py", "helper.py"}
