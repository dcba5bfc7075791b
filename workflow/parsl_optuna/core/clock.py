"""Time as an argument: deadlines on the monotonic clock, timestamps in UTC."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

Clock = Callable[[], float]


class Expired(Exception):
    """A deadline has passed in the middle of a long computation; whoever set it catches this.

    Attributes:
        phase: Of the computation; empty where it is not known.
    """

    def __init__(self, message: str, phase: str = "") -> None:
        super().__init__(message)
        self.phase = phase


@contextmanager
def named_phase(name: str) -> Iterator[None]:
    """Say in which phase a deadline passed."""
    try:
        yield
    except Expired as error:
        raise Expired(str(error), error.phase or name) from error


@dataclass(frozen=True)
class Deadline:
    """A budget in seconds that starts when the record is made.

    Args:
        budget_sec: Seconds allowed; ``math.inf`` never expires.
        now: Monotonic clock, so that a wall clock set back cannot extend a budget.
    """

    budget_sec: float = math.inf
    now: Clock = time.monotonic
    started: float = field(default=math.nan)

    def __post_init__(self) -> None:
        if not self.budget_sec > 0:
            raise ValueError(f"Deadline.budget_sec must be positive, got {self.budget_sec}")
        if math.isnan(self.started):
            object.__setattr__(self, "started", self.now())

    @property
    def used_sec(self) -> float:
        """Seconds since the start."""
        return self.now() - self.started

    @property
    def left_sec(self) -> float:
        """Seconds until the deadline; negative once it has passed."""
        return self.budget_sec - self.used_sec

    @property
    def expired(self) -> bool:
        """Whether the budget is used up."""
        return self.left_sec <= 0

    def check(self) -> None:
        """Raise `Expired` if the budget is used up."""
        if self.expired:
            raise Expired(f"{self.budget_sec:.3g} s are used up")

    def part(self, fraction: float) -> Deadline:
        """Return a deadline that starts now and takes *fraction* of what is left."""
        return Deadline(max(self.left_sec * fraction, 1e-9), self.now)


def utc_now() -> str:
    """Return the time in UTC, ISO 8601 with milliseconds and a trailing Z."""
    return utc_before(0.0)


def utc_before(seconds: float) -> str:
    """Return the time so many seconds ago, as `utc_now` gives it."""
    then = datetime.now(UTC) - timedelta(seconds=seconds)
    return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")
