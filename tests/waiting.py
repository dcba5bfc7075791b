"""Waiting for what other processes do."""

from __future__ import annotations

import time


def wait_for(condition, seconds: float = 60.0):
    """Wait until a condition holds; return what it gave."""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.05)
    return found
