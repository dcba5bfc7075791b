"""A task sees a process that looks like its own, and leaves ours as it was."""

import sys

from parsl_optuna.worker.apart import apart


def test_a_task_has_no_arguments_of_the_engine_and_leaves_ours_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["engine", "7", "--flag"])

    with apart(None, tmp_path, is_own_process=False):
        seen = list(sys.argv)
        sys.argv.append("--of-the-task")

    assert seen == ["engine"]
    assert sys.argv == ["engine", "7", "--flag"]
