import pytest
from parsl_optuna.core.errors import SpecError, TaskError
from parsl_optuna.tasks import source


def test_paths_are_stored_relative_where_they_can_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert source.relative(tmp_path / "sub" / "a.py") == "sub/a.py"
    assert source.relative(tmp_path.parent / "a.py") == str(tmp_path.parent / "a.py")


def test_a_file_that_is_gone_or_edited_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("1")
    _, digest = source.hashed("a.py", "here")
    monkeypatch.chdir("/")
    assert source.unchanged("a.py", digest, tmp_path) == tmp_path / "a.py"

    (tmp_path / "a.py").write_text("2")
    with pytest.raises(TaskError, match="was edited"):
        source.unchanged("a.py", digest, tmp_path)
    (tmp_path / "a.py").unlink()
    with pytest.raises(TaskError, match=r"is not in .* any more"):
        source.unchanged("a.py", digest, tmp_path)
    with pytest.raises(SpecError, match=r"here: no file 'a.py'"):
        source.hashed("a.py", "here")
