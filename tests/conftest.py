"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items):
    """Begin with the longest file: at the end one worker would wait for it."""
    items.sort(key=lambda item: item.path.name != "test_optuna_workflow.py")


@pytest.fixture
def generator():
    """A seeded torch generator."""
    torch = pytest.importorskip("torch")
    return torch.Generator().manual_seed(7)
