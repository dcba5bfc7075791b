"""What the tests of files share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def syncs(monkeypatch):
    """Watch a path: a list of every fsync from then on, the inode synced and whether the path was there."""

    def watch(path):
        seen, fsync = [], os.fsync

        def record(handle):
            seen.append((os.fstat(handle).st_ino, path.exists()))
            fsync(handle)

        monkeypatch.setattr(os, "fsync", record)
        return seen

    return watch
