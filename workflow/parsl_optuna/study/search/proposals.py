"""The points of a search: which are known, which come next, and none twice."""

from __future__ import annotations

from collections.abc import Container, Mapping

from parsl_optuna.core.records import Asked, Manifest
from parsl_optuna.core.space import Scalar
from parsl_optuna.study.plan.plans import RunPlan, StudyPlan
from parsl_optuna.study.search.search import Search, Values
from parsl_optuna.study.stored import Next, run_of, slots

_MODEL_ATTEMPTS = 10
_RANDOM_ATTEMPTS = 50


class Proposals:
    """What a search has proposed and will.

    Args:
        plan: The run.
        study: The study.

    Attributes:
        search: Asks for points.
        pending: Runs of known points that are still to start, the next one first.
        next_number: Of the next point.
    """

    def __init__(self, plan: RunPlan, study: StudyPlan) -> None:
        self._plan, self._study = plan, study
        self.search = Search(study, len(plan.scoring.names))
        self.pending: list[Next] = []
        self.next_number = 0
        self._ahead: Next | None = None
        self._known: dict[str, Mapping[str, Scalar]] = {}
        self._by_number: dict[int, Mapping[str, Scalar]] = {}

    @property
    def n_known(self) -> int:
        """How many points were proposed, or found on disk."""
        return len(self._known)

    def is_known(self, first: Manifest) -> bool:
        """Whether the point with this first run is known."""
        return first.trial_id in self._known

    def note(self, first: Manifest, number: int, point: Mapping[str, Scalar]) -> None:
        """Count a point as known, by its first run."""
        self._known[first.trial_id] = self._by_number[number] = dict(point)
        self.next_number = number + 1

    def waiting(self, *, stopped: bool) -> Next | None:
        """Return what was asked ahead, unless the study has stopped since, or a run of a known point."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            if not stopped:
                return ahead
            del self._known[ahead.manifest.trial_id]
            self.pending = [one for one in self.pending if one.number != ahead.number]
        return self.pending.pop(0) if self.pending else None

    def ask_ahead(self) -> None:
        """Ask for the next point before there is room for it."""
        if not self._ahead and not self.pending and self.n_known < self._study.space.size():
            self._ahead = self.ask()

    def ask(self) -> Next | None:
        """Ask for a point that is not known, a bounded number of times; None where none is left."""
        search, number = self.search, self.next_number
        guess = self._unused_guess()
        if guess is not None:
            proposal = self._fresh(search.suggest(number, guess), number, "enqueue")
            if proposal is not None:
                return proposal
            search.tell(number, None)
        if self.n_known >= self._study.space.size():
            return None
        for attempt in range(_MODEL_ATTEMPTS + _RANDOM_ATTEMPTS):
            point = search.ask(number, attempt, at_random=attempt >= _MODEL_ATTEMPTS)
            proposal = self._fresh(point, number, "search", attempt)
            if proposal is not None:
                return proposal
            search.tell(number, None)
        point = search.leftover(number)
        if point is None:
            return None
        return self._fresh(point, number, "search", _MODEL_ATTEMPTS + _RANDOM_ATTEMPTS)

    def tell_anew(self, values: Mapping[int, Values], ended: Container[int]) -> None:
        """Make the search anew with other values of its points, by number."""
        self.search = Search(self._study, len(self._plan.scoring.names))
        for number, point in self._by_number.items():
            asked = Asked(number, "", "search")
            self.search.restore(number, point, values.get(number), asked, ended=number in ended)

    def forget(self, running: Container[str]) -> None:
        """Do not start what runs already."""
        self.pending = [one for one in self.pending if one.manifest.trial_id not in running]

    def _fresh(self, point: Mapping[str, Scalar], number: int, by: str, attempt: int = 0) -> Next | None:
        first, *others = (run_of(self._plan, self._study, point, slot) for slot in slots(self._study))
        if self.is_known(first):
            return None
        self.note(first, number, point)
        self.pending += [Next(manifest, number, by, attempt) for manifest in others]
        return Next(first, number, by, attempt)

    def _unused_guess(self) -> Mapping[str, Scalar] | None:
        for guess in self._study.search.enqueue:
            if not any(guess.items() <= known.items() for known in self._known.values()):
                return guess
        return None
