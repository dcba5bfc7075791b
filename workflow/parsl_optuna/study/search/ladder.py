"""Which point of a low fidelity goes on: asynchronous successive halving. Pure.

Source: Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning, algorithm 2 (ASHA).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from parsl_optuna.core.ended import Ended
from parsl_optuna.core.fidelity import Fidelity
from parsl_optuna.core.space import Scalar, point_key

Point = Mapping[str, Scalar]


def promoted(
    fidelity: Fidelity, ended: Iterable[tuple[Point, Ended]], known: Iterable[Point]
) -> Point | None:
    """Return the point that goes on, on the rung where it has run; None if none does.

    The highest rung comes first. Of *n* points that have ended on a rung, the best ``n // factor`` go on, the
    best one first. A failed point counts among the *n*, and never goes on.

    Args:
        fidelity: The rungs.
        ended: Points that have ended, with what they came to.
        known: All points that were proposed.
    """
    by_rung: list[list[tuple[Point, Ended]]] = [[] for _ in fidelity.rungs]
    for point, one in ended:
        by_rung[fidelity.rung_of(point)].append((point, one))
    begun = {point_key(point) for point in known}
    for rung in reversed(range(len(fidelity.rungs) - 1)):
        succeeded = [entry for entry in by_rung[rung] if entry[1].values is not None]
        succeeded.sort(key=lambda entry: entry[1].place)
        for point, _ in succeeded[: len(by_rung[rung]) // fidelity.factor]:
            if point_key(fidelity.at(point, rung + 1)) not in begun:
                return point
    return None
