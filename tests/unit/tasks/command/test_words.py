import pytest
from parsl_optuna.tasks.command import TASK
from parsl_optuna.tasks.command.words import inputs, split


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["python", "t.py", "--config=c.yaml", "-o", "log.txt"], ["python", "t.py", "c.yaml", "log.txt"]),
        (["sh", "-c", "cd $X; python src/t.py >log.txt && b.sh|tee c"], ["sh", "src/t.py", "b.sh"]),
        (["python t.py --c=a.yaml ${x} | tee out.json"], ["t.py", "a.yaml"]),
        (["it's t.py"], ["t.py"]),
    ],
)
def test_files_on_which_a_command_depends(command, expected):
    assert [name for name in inputs(command) if not set(name) & set(" $")] == expected


def test_a_text_for_a_shell_has_words():
    assert split(["sh", "-c", "python t.py"]) == ["sh", "-c", "python t.py", "python", "t.py"]


@pytest.mark.parametrize(
    "raw",
    [
        {"command": ["sh", "-c", "python p.py"]},
        {"command": "python p.py", "shell": True},
        {"command": "python q.py --config=p.py"},
    ],
)
def test_another_content_of_a_file_is_another_problem(tmp_path, monkeypatch, raw):
    monkeypatch.chdir(tmp_path)
    seen = []
    for text in ("1", "2"):
        (tmp_path / "p.py").write_text(text)
        seen.append(TASK.resolve(raw, "p $")["files"]["p.py"])

    assert seen[0] != seen[1]
