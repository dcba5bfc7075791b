"""What `watch` shows: a run as its events and its progress tell it. Pure, but for the drawing."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from parsl_optuna.core.digits import FEW
from parsl_optuna.report.live import duration
from parsl_optuna.store.events import Kind, text_of

_KEPT = 100
"""Events that are kept for the bottom of the screen: more than any screen has lines."""

_OTHER_LINES = 13
"""Of the screen: what headings, workers and blocks usually take."""

_SILENT_SEC = 60.0
"""A driver writes its progress every few seconds, unless it was killed or its machine is gone."""

Progress = Mapping[str, Any]
"""What `progress_file.read` returns."""


@dataclass
class _Trial:
    pid: str
    method: str
    since: datetime


@dataclass
class Watched:
    """What the events so far say of the last command that wrote to a results folder.

    Attributes:
        command: Its words.
        began: When it started.
        ended: How it ended; None while it runs, or where it was killed.
        trials: Trials that were submitted and have not ended, by id.
        counts: Ended trials by (problem, method) and state.
        busy_sec: Seconds that ended trials took.
        blocks: What is known of each block that was not returned.
        last: The last events.
    """

    command: str = ""
    began: datetime | None = None
    ended: str | None = None
    trials: dict[str, _Trial] = field(default_factory=dict)
    counts: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    busy_sec: float = 0.0
    blocks: dict[str, str] = field(default_factory=dict)
    last: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next event; of kinds it does not know, only the text is kept."""
        at, kind = datetime.fromisoformat(event["at"]), event["event"]
        if kind == Kind.COMMAND_STARTED:
            self.command, self.began, self.ended = str(event.get("command", "")), at, None
            self.trials, self.counts, self.blocks, self.busy_sec = {}, {}, {}, 0.0
        elif kind == Kind.COMMAND_ENDED:
            self.ended = str(event.get("how", "done"))
            self.trials = {}
        elif kind in (Kind.QUEUED, Kind.ENDED):
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
        if kind == Kind.QUEUED:
            self.trials[trial_id] = _Trial(pid, method, at)
            return
        self.trials.pop(trial_id, None)
        self.counts.setdefault((pid, method), Counter())[str(event.get("state"))] += 1
        self.busy_sec += float(event.get("runtime_sec") or 0.0)


def screen(
    watched: Watched, progress: Progress | None, labels: Mapping[str, str], now: datetime, lines: int
) -> RenderableType:
    """Draw what is known.

    Args:
        watched: What the events say.
        progress: What the driver wrote last; None of a run of an older version.
        labels: Names of problems by id; an id without one stands for itself.
        now: To tell how long something has lasted.
        lines: Height of the screen.
    """
    if watched.began is None:
        return Text("no command has written here yet")
    if progress is not None and datetime.fromisoformat(progress["written"]) < watched.began:
        progress = None  # it is of a command before
    parts: list[RenderableType] = [_head(watched, progress, now)]
    studies = _studies(watched, progress, labels)
    parts += [studies]
    longest = min(len(watched.trials), max(lines // 6, 3))
    if longest:
        parts.append(_longest(watched, labels, now, longest))
    shown = max(lines - _OTHER_LINES - studies.row_count - longest, 3)
    parts.append(_events(watched, shown))
    return Group(*parts)


def _head(watched: Watched, progress: Progress | None, now: datetime) -> Text:
    assert watched.began is not None
    state = "running" if watched.ended is None else f"ended: {watched.ended}"
    found = [watched.command, f"{state}, started {duration((now - watched.began).total_seconds())} ago"]
    if progress is not None:
        silent = (now - datetime.fromisoformat(progress["written"])).total_seconds()
        if watched.ended is None and silent > _SILENT_SEC:
            found[1] += f", silent for {duration(silent)}: its driver was killed, or its machine is gone"
        found.append(_totals(progress))
        found += _workers(watched, progress) if watched.ended is None else []
    elif watched.blocks:
        blocks = Counter(watched.blocks.values())
        jobs = ", ".join(f"{job} {word}" for job, word in watched.blocks.items())
        found.append(f"blocks: {blocks['running']} running, {blocks['queued']} queued ({jobs})")
    return Text("\n".join(found))


def _totals(progress: Progress) -> str:
    ended, total = (
        sum(one.get(name) or 0 for one in progress["studies"]) for name in ("ended", "max_trials")
    )
    parts = [f"trials {ended}/{total}"]
    if progress.get("references"):
        parts.insert(0, f"references {progress.get('references_done')}/{progress['references']}")
    if progress.get("left_sec") is not None and ended < total:
        parts.append(f"about {duration(progress['left_sec'])} left")
    return " · ".join(parts)


def _workers(watched: Watched, progress: Progress) -> list[str]:
    """Return lines on workers: how many are busy now, how busy they were, which blocks they are in."""
    backend = progress.get("backend")
    if not backend:
        return []
    running, blocks = backend.get("running") or 0, backend.get("blocks") or []
    workers = sum(one.get("workers") or 0 for one in blocks)
    text = f"workers: {running} of {workers} busy" if workers else f"workers: {running} busy"
    text += f" · queued: {backend.get('queued') or 0}"
    whole = workers * (progress.get("elapsed_sec") or 0.0)
    if whole:
        text += f" · {min(watched.busy_sec / whole, 1.0):.0%} of their time in trials that have ended"
    words = Counter(str(one.get("phase")) for one in blocks)
    jobs = ", ".join(f"{one.get('job')} {one.get('phase')}" for one in blocks)
    told = [text]
    if blocks:
        told.append(f"blocks: {words['running']} running, {words['queued']} queued ({jobs})")
    return [*told, *map(str, backend.get("notes") or [])]


def _studies(watched: Watched, progress: Progress | None, labels: Mapping[str, str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("problem", "method"):
        table.add_column(name)
    for name in ("done", "best", "ok", "pruned", "failed", "out"):
        table.add_column(name, justify="right")
    table.add_column("")
    told = {(str(one.get("pid")), str(one.get("method"))): one for one in (progress or {}).get("studies", ())}
    out = Counter((one.pid, one.method) for one in watched.trials.values())
    for pid, method in sorted(dict.fromkeys([*told, *watched.counts, *out])):
        counts, study = watched.counts.get((pid, method), Counter()), told.get((pid, method), {})
        failed = sum(counts.values()) - counts["ok"] - counts["pruned"]
        best = study.get("best")
        table.add_row(
            labels.get(pid, str(study.get("label") or pid)),
            method,
            f"{study['ended']}/{study['max_trials']}" if study else "-",
            "-" if best is None else f"{best:.{study.get('digits') or FEW}g}",
            *map(str, (counts["ok"], counts["pruned"], failed, out[pid, method])),
            str(study.get("note") or ""),
        )
    return table


def _longest(watched: Watched, labels: Mapping[str, str], now: datetime, most: int) -> Table:
    """Return the trials that were submitted first; when one starts is not known before it ends."""
    table = Table(box=None, pad_edge=False)
    for name in ("longest out", "problem", "method"):
        table.add_column(name)
    table.add_column("for", justify="right")
    for trial_id, one in sorted(watched.trials.items(), key=lambda pair: pair[1].since)[:most]:
        lasted = duration((now - one.since).total_seconds())
        table.add_row(trial_id, labels.get(one.pid, one.pid), one.method, lasted)
    if len(watched.trials) > most:
        table.add_row(f"and {len(watched.trials) - most} more")
    return table


def _events(watched: Watched, most: int) -> Text:
    texts = [f"{event['at'][11:19]}  {text_of(event)}" for event in list(watched.last)[-most:]]
    return Text("\n" + "\n".join(texts), no_wrap=True, overflow="ellipsis")
