import errno
import os
import shutil
from pathlib import Path

import pytest
from parsl_optuna.core.errors import StoreError
from parsl_optuna.store.probe import probe

from tests.unit.store.test_exclusive import refuse


def test_a_folder_is_made_and_left_empty(tmp_path):
    probe(tmp_path / "new" / "folder", "choose another")

    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_no_hard_links_are_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refuse)

    probe(tmp_path, "choose another")


def test_a_file_system_without_any_exclusive_step_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refuse)
    original = Path.rename

    def rename(self, target):
        if Path(target).is_dir():
            shutil.rmtree(target)
        return original(self, target)

    monkeypatch.setattr(Path, "rename", rename)

    with pytest.raises(StoreError, match=r"neither hard links nor folders .*; choose another"):
        probe(tmp_path, "choose another")


@pytest.mark.parametrize("name", ["mkdir", "fsync"])
def test_a_disk_that_fails_is_told(tmp_path, monkeypatch, name):
    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, name, fail)

    with pytest.raises(StoreError, match="No space left on device"):
        probe(tmp_path / "a", "choose another")
