"""The 24 codes of the COPUS protocol, and class periods made up after published profiles.

Sources: Smith, Jones, Gilbert & Wieman 2013, CBE-LSE 12(4), 618; Lund et al. 2015, CBE-LSE 14(2), ar18 (the
columns Lec, RTW, S_Anq, SQ, CQ, FUP and MG; the other cells are plausible fillers).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("L", "Ind", "CG", "WG", "OG", "S_Anq", "SQ", "WC", "PRD", "SP", "TQ", "S_W", "S_O",
           "Lec", "RTW", "FUP", "T_PQ", "CQ", "T_ANQ", "MG", "ONE_O_ONE", "DV", "ADMIN", "T_W")  # fmt: skip

WEIGHTS = (0.20, 0.20, 0.15, 0.13, 0.12, 0.10, 0.10)
"""Shares of the seven kinds of class in a made-up table: unequal, none rare."""

PROFILES = (
    (97, 1, 1, 0, 1, 8, 8, 1, 0, 0, 1, 2, 1, 94, 2, 4, 12, 3, 8, 0, 0, 5, 6, 1),
    (96, 1, 0, 1, 1, 15, 16, 1, 0, 0, 1, 1, 1, 93, 88, 3, 22, 1, 16, 0, 0, 2, 6, 1),
    (90, 4, 0, 2, 6, 38, 21, 6, 1, 1, 1, 1, 1, 82, 6, 9, 45, 1, 22, 2, 2, 6, 6, 2),
    (78, 8, 18, 2, 4, 7, 4, 1, 1, 0, 1, 2, 1, 75, 3, 18, 10, 18, 5, 5, 3, 3, 7, 4),
    (70, 20, 20, 1, 4, 17, 4, 2, 3, 0, 2, 2, 1, 55, 13, 50, 15, 41, 5, 3, 2, 3, 7, 8),
    (58, 15, 42, 4, 6, 31, 6, 8, 3, 1, 1, 2, 1, 50, 3, 54, 22, 42, 8, 16, 8, 3, 6, 5),
    (40, 6, 0, 35, 18, 28, 9, 8, 1, 4, 2, 4, 3, 26, 43, 39, 25, 0, 10, 25, 25, 3, 9, 6),
)
"""Mean percentage of two-minute intervals with each code, by kind of class."""

_CONCENTRATION = 12.0
"""Of the beta law of a rate within a kind: classes differ by 0.14 where the rate is 1/2."""


def periods(n: int, missing: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return ``(n, 24)`` percentages, NaN where missing, and the kind ``(n,)`` of each class period.

    Args:
        n: Number of class periods.
        missing: Share of cells that are missing, at random.
        seed: Of everything.
    """
    stream = np.random.default_rng(seed)
    kinds = stream.choice(len(PROFILES), size=n, p=WEIGHTS)
    intervals = np.clip(np.round(stream.normal(25, 6, size=n)), 12, 45).astype(int)
    mean = np.asarray(PROFILES, dtype=float)[kinds] / 100
    used = 1 - np.exp(-12 * mean)
    on = stream.random(mean.shape) < used
    rate = np.clip(mean / np.maximum(used, 1e-9), 1e-3, 1 - 1e-3)
    chance = stream.beta(_CONCENTRATION * rate, _CONCENTRATION * (1 - rate))
    counts = stream.binomial(intervals[:, None], np.where(on, chance, 0.0))
    values = 100.0 * counts / intervals[:, None]
    values[stream.random(values.shape) < missing] = np.nan
    return values, kinds
