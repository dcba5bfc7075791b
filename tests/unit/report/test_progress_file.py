from dataclasses import replace

from parsl_optuna.core.clock import utc_now
from parsl_optuna.report.progress_file import ProgressFile, read

from tests.unit.report.test_live import SNAPSHOT


def test_what_is_shown_is_read_back_with_its_time(tmp_path):
    ProgressFile(tmp_path / "progress.json").show(SNAPSHOT)

    found = read(tmp_path / "progress.json")

    assert found["written"] <= utc_now()
    assert [one["best"] for one in found["studies"]] == [one.best for one in SNAPSHOT.studies]


def test_it_is_written_every_other_second_and_at_the_end(tmp_path):
    now = [0.0]
    file, path = ProgressFile(tmp_path / "progress.json", lambda: now[0]), tmp_path / "progress.json"

    file.show(SNAPSHOT)
    now[0] = 1.0
    file.show(replace(SNAPSHOT, elapsed_sec=1.0))
    assert read(path)["elapsed_sec"] == SNAPSHOT.elapsed_sec
    file.close()

    assert read(path)["elapsed_sec"] == 1.0


def test_a_disk_that_does_not_take_it_does_not_end_the_run(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")

    ProgressFile(tmp_path / "file" / "progress.json").show(SNAPSHOT)

    assert "progress.json: cannot be written: " in caplog.text
    assert "None" not in caplog.text


def test_a_torn_or_foreign_file_is_none(tmp_path):
    path = tmp_path / "progress.json"

    assert read(path) is None
    for content in ('{"studies": [', "[]", "{}", '{"studies": 3}'):
        path.write_text(content)
        assert read(path) is None
