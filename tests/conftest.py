"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def generator():
    """A seeded torch generator."""
    torch = pytest.importorskip("torch")
    return torch.Generator().manual_seed(7)
