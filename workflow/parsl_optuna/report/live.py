"""Progress: a live table on a terminal, a line that changes in a notebook, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from parsl_optuna.study.progress import Snapshot

_LINE_EVERY_SEC = 10.0


class Progress:
    """Shows snapshots on stderr while a run lasts.

    Args:
        console: Where to write.
        plain: Whether to print lines also on a terminal, beside what a logger writes there.
    """

    def __init__(self, console: Console, *, plain: bool = False) -> None:
        self._console, self._plain = console, plain
        self._live: Live | None = None
        self._last_line = 0.0
        self._last_text = ""
        self._notes: set[str] = set()
        self._line: Any = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal and not self._plain:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Show a snapshot: at once on a terminal and in a notebook, every ten seconds elsewhere."""
        if self._live is not None:
            self._live.update(_table(snapshot))
            return
        for note in () if snapshot.backend is None else snapshot.backend.notes:
            if note not in self._notes:
                self._notes.add(note)
                self._console.print(note, highlight=False, soft_wrap=True, markup=False)
        text = headline(snapshot)
        if self._console.is_jupyter:
            self._change_line(text)
            return
        is_due = time.monotonic() - self._last_line >= _LINE_EVERY_SEC
        if is_due and text != self._last_text:
            self._last_line, self._last_text = time.monotonic(), text
            self._console.print(text, highlight=False, soft_wrap=True)

    def _change_line(self, text: str) -> None:
        from IPython.display import display  # noqa: PLC0415  it is there, as this is a notebook

        content = {"text/plain": text}
        if self._line is None:
            self._line = display(content, raw=True, display_id=True)
        elif text != self._last_text:
            self._line.update(content, raw=True)
        self._last_text = text


def headline(snapshot: Snapshot) -> str:
    """Return one line on the whole run."""
    ended = sum(study.ended for study in snapshot.studies)
    total = sum(study.max_trials for study in snapshot.studies)
    running = sum(study.running for study in snapshot.studies)
    failed = sum(study.failed for study in snapshot.studies)
    bests = [f"{study.best:.{study.digits}g}" for study in snapshot.studies if study.best is not None]
    parts = []
    if snapshot.references:
        parts.append(f"references {snapshot.references_done}/{snapshot.references}")
    counts = [f"{running} running"]
    if snapshot.backend is not None:
        counts = [f"{snapshot.backend.running} running", f"{snapshot.backend.queued} queued"]
    parts.append(f"trials {ended}/{total} ({', '.join([*counts, f'{failed} failed'])})")
    if len(bests) == 1:
        parts.append(f"best {bests[0]}")
    parts.append(f"{duration(snapshot.elapsed_sec)} elapsed")
    if snapshot.left_sec is not None:
        parts.append(f"about {duration(snapshot.left_sec)} left")
    if snapshot.backend is not None and snapshot.backend.blocks:
        parts.append(snapshot.backend.text())
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Return seconds as ``1 h 02 min``, ``3 min 04 s`` or ``5 s``."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _table(snapshot: Snapshot) -> Table:
    table = Table(title=headline(snapshot), title_justify="left", box=None, pad_edge=False)
    for name in ("problem", "method", "done", "running", "failed", "best", ""):
        table.add_column(name, justify="left" if name in ("problem", "method", "") else "right")
    for study in snapshot.studies:
        table.add_row(
            study.label,
            study.method,
            f"{study.ended}/{study.max_trials}",
            str(study.running),
            str(study.failed),
            "-" if study.best is None else f"{study.best:.{study.digits}g}",
            study.note or "",
        )
    for note in () if snapshot.backend is None else snapshot.backend.notes:
        table.caption, table.caption_justify = note, "left"
    return table
