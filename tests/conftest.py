"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch = pytest.importorskip("torch")  # not before the line above: it reads the number of threads once

ROOT = Path(__file__).resolve().parents[1]

LONGEST = (
    "test_optuna_workflow.py",
    "test_bad_input.py",
    "test_devices.py",
    "test_record.py",
    "test_estimate.py",
    "test_cli.py",
    "test_sweep.py",
    "test_house.py",
)
"""Files that take half a minute or more, longest first."""


def pytest_configure():
    """Let PyTorch warn every time: once in a process, a test's outcome would hang on which ran before it."""
    torch.set_warn_always(True)


def pytest_collection_modifyitems(items):
    """Begin with the longest files: at the end one worker would wait for them."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture
def generator():
    """A seeded torch generator."""
    return torch.Generator().manual_seed(7)
