"""Until when this command may run: the end of the job around it, where there is one."""

from __future__ import annotations

import os
import time

STOP_AT = "PARSL_OPTUNA_STOP_AT"
"""Variable with the time, in seconds since the epoch, from which on the driver starts nothing more."""

AGAIN = 75
"""Exit status of a command that stopped for this and has to be run again; EX_TEMPFAIL of sysexits.h."""


def is_over() -> bool:
    """Whether that time has come."""
    try:
        return time.time() >= float(os.environ[STOP_AT])
    except (KeyError, ValueError):
        return False


def stop_in(seconds: float) -> None:
    """Have the driver stop in so many seconds, or earlier where that was said before."""
    known = float(os.environ.get(STOP_AT, "inf"))
    os.environ[STOP_AT] = str(min(known, time.time() + seconds))


def hms(seconds: float) -> str:
    """Return seconds as ``HH:MM:SS``."""
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def seconds_of(text: str) -> int | None:
    """Return the seconds in ``[DAYS-][[HH:]MM:]SS``; None where it is no time, such as ``UNLIMITED``."""
    days, _, rest = text.strip().rpartition("-")
    try:
        total = 0
        for part in rest.split(":"):
            total = 60 * total + int(part)
        return total + 86400 * int(days or 0)
    except ValueError:
        return None
