"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch = pytest.importorskip("torch")  # not before the line above: it reads the number of threads once

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure():
    """Let PyTorch warn every time: once in a process, a test's outcome would hang on which ran before it."""
    torch.set_warn_always(True)


def pytest_collection_modifyitems(items):
    """Begin with the longest file: at the end one worker would wait for it."""
    items.sort(key=lambda item: item.path.name != "test_optuna_workflow.py")


@pytest.fixture
def generator():
    """A seeded torch generator."""
    return torch.Generator().manual_seed(7)
