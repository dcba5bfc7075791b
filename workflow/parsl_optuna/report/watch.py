"""What `watch` shows: a run as its event log tells it. Pure, but for the drawing."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from parsl_optuna.report.live import duration
from parsl_optuna.store.events import Kind, text_of

_KEPT = 100
"""Events that are kept for the bottom of the screen: more than any screen has lines."""

_OTHER_LINES = 12
"""Of the screen: what headings, studies and blocks usually take."""


@dataclass
class _Trial:
    pid: str
    method: str
    since: datetime
    is_running: bool = False
    host: str = ""


@dataclass
class Watched:
    """What the events so far say of the last command that wrote to a results folder.

    Attributes:
        command: Its words.
        began: When it started.
        ended: How it ended; None while it runs, or where it was killed.
        trials: Trials that are queued or running, by id.
        counts: Ended trials by (problem, method) and state.
        blocks: What is known of each block that was not returned.
        last: The last events.
    """

    command: str = ""
    began: datetime | None = None
    ended: str | None = None
    trials: dict[str, _Trial] = field(default_factory=dict)
    counts: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    blocks: dict[str, str] = field(default_factory=dict)
    last: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next event; of kinds it does not know, only the text is kept."""
        at, kind = datetime.fromisoformat(event["at"]), event["event"]
        if kind == Kind.COMMAND_STARTED:
            self.command, self.began, self.ended = str(event.get("command", "")), at, None
            self.trials, self.counts, self.blocks = {}, {}, {}
        elif kind == Kind.COMMAND_ENDED:
            self.ended = str(event.get("how", "done"))
            self.trials = {}
        elif kind in (Kind.QUEUED, Kind.STARTED, Kind.ENDED):
            self._take(at, kind, event)
        elif kind in (Kind.BLOCK_REQUESTED, Kind.BLOCK_GRANTED):
            self.blocks[str(event.get("job"))] = "queued" if kind == Kind.BLOCK_REQUESTED else "running"
        elif kind in (Kind.BLOCK_LOST, Kind.BLOCK_RETURNED):
            self.blocks.pop(str(event.get("job")), None)
        self.last.append(event)

    def _take(self, at: datetime, kind: str, event: Mapping[str, Any]) -> None:
        trial_id, known = str(event.get("trial_id")), self.trials.get(str(event.get("trial_id")))
        pid = str(event.get("pid") or (known.pid if known else ""))
        method = str(event.get("method") or (known.method if known else ""))
        if kind == Kind.ENDED:
            self.trials.pop(trial_id, None)
            self.counts.setdefault((pid, method), Counter())[str(event.get("state"))] += 1
            return
        host = str(event.get("host") or "")
        self.trials[trial_id] = _Trial(pid, method, at, kind == Kind.STARTED, host)


def screen(watched: Watched, labels: Mapping[str, str], now: datetime, lines: int) -> RenderableType:
    """Draw what is known.

    Args:
        watched: What the events say.
        labels: Names of problems by id; an id without one stands for itself.
        now: To tell how long something has lasted.
        lines: Height of the screen.
    """
    if watched.began is None:
        return Text("no command has written here yet")
    state = "running" if watched.ended is None else f"ended: {watched.ended}"
    head = Text(f"{watched.command}\n{state}, started {duration((now - watched.began).total_seconds())} ago")
    running = [one for one in watched.trials.values() if one.is_running]
    parts = [head, _studies(watched, labels)]
    if running:
        parts.append(_running(watched, labels, now, max(lines // 4, 3)))
    if watched.blocks:
        blocks = Counter(watched.blocks.values())
        jobs = ", ".join(f"{job} {word}" for job, word in watched.blocks.items())
        parts.append(Text(f"blocks: {blocks['running']} running, {blocks['queued']} queued ({jobs})"))
    shown = max(lines - _OTHER_LINES - len(watched.counts) - min(len(running), lines // 4), 3)
    parts.append(_events(watched, shown))
    return Group(*parts)


def _studies(watched: Watched, labels: Mapping[str, str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("problem", "method"):
        table.add_column(name)
    for name in ("ok", "pruned", "failed", "running", "queued"):
        table.add_column(name, justify="right")
    flying = Counter((one.pid, one.method, one.is_running) for one in watched.trials.values())
    places = dict.fromkeys([*watched.counts, *((pid, method) for pid, method, _ in flying)])
    for pid, method in sorted(places):
        counts = watched.counts.get((pid, method), Counter())
        failed = sum(counts.values()) - counts["ok"] - counts["pruned"]
        numbers = (
            counts["ok"],
            counts["pruned"],
            failed,
            flying[pid, method, True],
            flying[pid, method, False],
        )
        table.add_row(labels.get(pid, pid), method, *map(str, numbers))
    return table


def _running(watched: Watched, labels: Mapping[str, str], now: datetime, most: int) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("running", "problem", "method", "host"):
        table.add_column(name)
    table.add_column("for", justify="right")
    running = sorted(
        ((trial_id, one) for trial_id, one in watched.trials.items() if one.is_running),
        key=lambda pair: pair[1].since,
    )
    for trial_id, one in running[:most]:
        lasted = duration((now - one.since).total_seconds())
        table.add_row(trial_id, labels.get(one.pid, one.pid), one.method, one.host, lasted)
    if len(running) > most:
        table.add_row(f"and {len(running) - most} more")
    return table


def _events(watched: Watched, most: int) -> Text:
    texts = [f"{event['at'][11:19]}  {text_of(event)}" for event in list(watched.last)[-most:]]
    return Text("\n" + "\n".join(texts), no_wrap=True, overflow="ellipsis")
