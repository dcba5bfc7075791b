"""How many digits of a number are shown: as many as tell the values of a study apart."""

from __future__ import annotations

import math
from collections.abc import Iterable

FEW = 4
_MOST = 15
"""A double has no more decimal digits that count."""


def digits_of(values: Iterable[float | None]) -> int:
    """Return four, or more where values differ little beside a large offset; missing ones do not count."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return FEW
    least, greatest = min(known), max(known)
    spread = greatest / 2 - least / 2  # the difference of two doubles may be none
    if spread <= 0:
        return FEW
    orders = math.log10(max(abs(least), abs(greatest)) / 2) - math.log10(spread)
    return FEW if orders < FEW - 1 else min(FEW + math.floor(orders), _MOST)
