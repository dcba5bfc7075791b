"""Writes the report while a driver is at work, seldom enough to cost next to nothing."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parsl_optuna.core.clock import Clock
from parsl_optuna.core.ended import Ended
from parsl_optuna.report.best import comparisons, digits_in, doubts, short
from parsl_optuna.report.live import duration, headline
from parsl_optuna.store.events import EventReader
from parsl_optuna.store.layout import Artifacts, Results

if TYPE_CHECKING:
    from parsl_optuna.report.interactive.content import Data
    from parsl_optuna.study.plan.plans import RunPlan
    from parsl_optuna.study.progress import Snapshot, StudyStatus

_EVERY_SEC = 5.0
"""People do not look more often, and a shared file system need not carry more."""

_UNCHANGED_SEC = 60.0
"""Between pages that differ in their times only: each is 5 MB on a shared file system."""

_SHARE = 0.01
"""Of the driver's time that pages may take."""

_logger = logging.getLogger(__name__)


class LivePage:
    """The report of a run that is going on.

    Args:
        plan: What runs.
        artifacts: Where its trials are.
        results: Where the page goes.
        now: The clock.

    Attributes:
        results: The results folder.
    """

    def __init__(
        self, plan: RunPlan, artifacts: Artifacts, results: Results, now: Clock = time.monotonic
    ) -> None:
        self._plan, self._artifacts, self.results, self._now = plan, artifacts, results, now
        self._trials: dict[str, Data] = {}
        self._events: list[Mapping[str, Any]] = []
        self._reader = EventReader(results.events)
        self._due = self._unchanged_due = -math.inf
        self._shown: object = None
        self._snapshot: Snapshot | None = None

    def show(self, snapshot: Snapshot, ended: Iterable[Ended]) -> None:
        """Write the page if it is time for it. A disk that does not take it never ends a run."""
        began, self._snapshot = self._now(), snapshot
        backend = snapshot.backend and (snapshot.backend.running, snapshot.backend.queued)
        state = (snapshot.studies, snapshot.references_done, backend)
        if began < (self._due if state != self._shown else self._unchanged_due):
            return
        try:
            self._write(snapshot, ended)
        except OSError as error:
            _logger.warning("%s", error)
        took = self._now() - began
        self._due = began + max(_EVERY_SEC, took / _SHARE)
        self._unchanged_due = max(self._due, began + _UNCHANGED_SEC)
        self._shown = state

    def close(self, ended: Iterable[Ended], points: Sequence[Mapping[str, Any]]) -> None:
        """Write the page of a run that has ended, with its best points."""
        assert self._snapshot is not None
        from parsl_optuna.report.interactive.left import pictures_of  # noqa: PLC0415

        pictures = pictures_of(self._artifacts, ((_place(point), point) for point in points))
        findings = [*map(_chosen, points), *(f"{one}." for one in (*doubts(points), *comparisons(points)))]
        self._write(self._snapshot, ended, is_running=False, findings=findings, pictures=pictures)

    def _write(
        self,
        snapshot: Snapshot,
        ended: Iterable[Ended],
        *,
        is_running: bool = True,
        findings: Sequence[str] = (),
        pictures: Sequence[tuple[str, str]] = (),
    ) -> None:
        # Half a second, of pandas and pyarrow: once first trials are on their way.
        from parsl_optuna.report import tables  # noqa: PLC0415
        from parsl_optuna.report.interactive import page  # noqa: PLC0415
        from parsl_optuna.report.interactive.content import (  # noqa: PLC0415
            Content,
            events_of,
            trial_of,
            views_of,
        )

        task, scoring = self._plan.task, self._plan.scoring
        names = scoring.names
        for entry in ended:
            if entry.manifest.trial_id not in self._trials:
                row = tables.row(entry, task)
                self._trials[entry.manifest.trial_id] = trial_of(
                    row, task, names, self._artifacts, self.results.root
                )
        self._events = [*self._events, *self._reader.new()][-1000:]
        content = Content(
            title=f"{task.name}: {', '.join(dict.fromkeys(one.label for one in snapshot.studies))}",
            status=headline(snapshot) if is_running else _total(snapshot),
            is_running=is_running,
            findings=findings or [_so_far(one) for one in snapshot.studies if one.best is not None],
            objectives=[
                {"name": scoring.leading if index == 0 else name, "maximise": scoring.is_maximised(name)}
                for index, name in enumerate(names)
            ],
            trials=list(self._trials.values()),
            studies=[_row(one) for one in snapshot.studies],
            comparison=task.comparison,
            events=events_of(self._events),
            views=views_of(task),
            pictures=pictures,
        )
        page.write(content, self.results.report)


def _total(snapshot: Snapshot) -> str:
    ended, total = (sum(getattr(one, name) for one in snapshot.studies) for name in ("ended", "max_trials"))
    return f"{ended} of {total} trials · {duration(snapshot.elapsed_sec)}"


def _row(status: StudyStatus) -> dict[str, Any]:
    return {
        "problem": status.label,
        "method": status.method,
        "done": f"{status.ended}/{status.max_trials}",
        "submitted": status.running,
        "failed": status.failed,
        "best": status.best,
        "": status.note,
    }


def _so_far(status: StudyStatus) -> str:
    best = short(status.best, status.digits)
    return (
        f"{status.method} on {status.label}: best so far {best}, the luckiest of {status.ended} "
        "trials until it is confirmed."
    )


def _place(point: Mapping[str, Any]) -> str:
    return f"{point['method']} on {point['problem']}"


def _chosen(point: Mapping[str, Any]) -> str:
    """Say what is best, and by how much its search flattered it."""
    chosen = "  ".join(f"{name}={short(value)}" for name, value in point["varied"].items())
    value = f"{_place(point)}: best {point['leading']} {short(point['objective'], digits_in(point))}"
    if point["confirmed"] is not None:
        name = point.get("confirmed_as", point["leading"])
        metric = "" if name == point["leading"] else f"{name} "
        value += (
            f"; {metric}{short(point['confirmed'], digits_in(point))} on {point['confirmed_on']} fresh seeds"
        )
    return f"{value}, at {chosen}." if chosen else f"{value}."
