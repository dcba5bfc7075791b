"""From what a task returned or raised to a state and one line of reason. Pure."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from parsl_optuna.core.errors import TaskError, WorkflowError, nearest
from parsl_optuna.core.objective import COMPUTED, ERROR, finite
from parsl_optuna.core.records import ENGINE_METRICS, Asked, Outcome, State, check_metric_names
from parsl_optuna.store.atomic import is_disk_fault
from parsl_optuna.tasks import source
from parsl_optuna.tasks.base import Metrics, Task

_dumps, _loads = json.dumps, json.loads  # a task may replace them

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
"""How torch and its CUDA allocator say it, in a RuntimeError."""

_NO_ROOM = ("no space left on device", "disk quota exceeded")
"""How libraries quote the system when they raise an error of their own."""

_MOST_METRICS_MB = 16
"""Metrics are read again at every start and travel to the driver; more than this belongs into a file."""

_MOST_TEXT = 500


def checked(metrics: Metrics) -> Metrics:
    """Return the metrics of a run as they are read again from a file, if they can be stored.

    A task may return numbers and texts of classes of its own, whose methods do anything.

    Raises:
        MetricNameError: A name that no metric can have.
        TaskError: A value has no JSON form, or they are too large.
    """
    check_metric_names(metrics)
    texts = {name: _text(name, value) for name, value in metrics.items()}
    size = sum(map(len, texts.values()))
    if size > _MOST_METRICS_MB * 2**20:
        raise TaskError(
            f"the metrics take {size / 2**20:.0f} MiB; at most {_MOST_METRICS_MB} are stored: write large "
            "results into files, in the working folder of the trial"
        )
    return {str(name): _loads(text) for name, text in texts.items()}


def _text(name: str, value: Any) -> bytes:
    try:
        return _dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise TaskError(f"the metric '{name}' is nested too deeply to be stored") from error
    except UnicodeEncodeError as error:
        raise TaskError(f"the metric '{name}' holds a text that is not Unicode") from error
    except (TypeError, ValueError) as error:
        what = str(error).removeprefix("Object of type ").removesuffix(" is not JSON serializable")
        raise TaskError(
            f"the metric '{name}' cannot be stored ({what}); return numbers, texts, lists and dicts"
        ) from error


def classify(
    task: Task, metrics: Mapping[str, Any], objective: Mapping[str, Any]
) -> tuple[State, str | None]:
    """Call a run without a finite result invalid, so that it is never taken for a value.

    Args:
        task: The task.
        metrics: What the run returned.
        objective: As `Scoring.to_json` gives it; a metric that it asks for must be there.
    """
    asked = asked_metrics(task, objective)
    for name in asked:
        if name not in metrics:
            return State.INVALID, missing(name, metrics)
    for name in asked if asked and not _is_computed(task, objective) else (*asked, task.result):
        if name in metrics and finite(metrics[name]) is None:
            return State.INVALID, f"{name} is {_short(metrics[name])}" + _because(metrics)
    return State.OK, None


def asked_metrics(task: Task, objective: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the metrics that every trial must report, of an objective as `Scoring.to_json` gives it.

    What the engine measures, and what it computes from the task's reference, is none of them.
    """
    first = [objective.get("metric")] if objective.get("type") == "metric" else []
    others = ENGINE_METRICS | (COMPUTED if task.comparison is not None else set())
    names = [first if name == ERROR else [name] for name in objective.get("names", ())]
    return tuple(name for some in names for name in some if name is not None and name not in others)


def _is_computed(task: Task, objective: Mapping[str, Any]) -> bool:
    """Whether an objective is computed from the metric without which a run has no result."""
    names = objective.get("names", ())
    is_error = ERROR in names and objective.get("type") != "metric"
    return is_error or (task.comparison is not None and not COMPUTED.isdisjoint(names))


def judged(task: Task, asked: Asked, outcome: Outcome, objective: Mapping[str, Any]) -> Outcome:
    """Return an outcome as it counts for an objective, which need not be the one that its trial had.

    Args:
        task: The task.
        asked: How the trial was asked for.
        outcome: What came of it.
        objective: As `Scoring.to_json` gives it.
    """
    is_same = asked_metrics(task, asked.objective) == asked_metrics(task, objective)
    if outcome.state is not State.OK and (is_same or outcome.state is not State.INVALID):
        return outcome
    state, reason = classify(task, outcome.metrics, objective)
    if state is State.OK:
        return outcome if outcome.state is state else replace(outcome, state=state, reason=None, cure=None)
    for name in asked_metrics(task, objective) or (task.result,):
        if outcome.metrics.get(name, "") is None and (outcome.reason or "").startswith(f"{name} is "):
            return outcome  # files hold NaN as null; the worker has seen which of the two it was
    return replace(outcome, state=state, reason=reason, cure=cure_of(task, outcome.metrics, objective))


def cure_of(task: Task, metrics: Mapping[str, Any], objective: Mapping[str, Any]) -> str | None:
    """Say what to change where a metric is missing and another one has nearly its name."""
    for asked in asked_metrics(task, objective):
        if asked not in metrics and nearest(asked, metrics).startswith("did you mean"):
            return f"have the code report '{asked}', or name another metric as the objective"
    return None


def missing(name: str, metrics: Mapping[str, Any]) -> str:
    """Say that a metric never came, and which did, the nearest name first."""
    if not metrics:
        return f"it reported no metric '{name}', and no other"
    hint = nearest(name, metrics)
    words = sorted(metrics, key=lambda other: (f"'{other}'" not in hint, other))
    listed = ", ".join(f"'{word}'" for word in words[:10]) + (", …" if len(words) > 10 else "")
    return f"it reported no metric '{name}'; it reported {listed}" + (
        f"; {hint}" if hint.startswith("did you mean") else ""
    )


def failed(error: BaseException, launch: Path | None = None) -> tuple[State, str]:
    """Return the state and reason of a run that raised.

    Args:
        error: What it raised.
        launch: The folder in which the command was started, where that is not the run's own.
    """
    text = _first_line(as_text(error))
    if isinstance(error, MemoryError) or any(words in text.lower() for words in _NO_MEMORY):
        return State.OUT_OF_MEMORY, text or "out of memory"
    name = type(error).__name__
    if text and isinstance(error, WorkflowError):  # the words are ours
        return State.FAILED, text
    if text:
        return State.FAILED, f"{name}: {text}{_where_it_is(error, launch)}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return State.FAILED, name + where


def is_of_disk(error: BaseException) -> bool:
    """Whether a run failed as a disk is full or fails, of whatever kind the error is by now."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        if is_disk_fault(one) or any(words in as_text(one).lower() for words in _NO_ROOM):
            return True
        seen.add(id(one))
        one = one.__cause__ or one.__context__
    return False


def _where_it_is(error: BaseException, launch: Path | None) -> str:
    """Say where a file is that was looked for in the trial's own folder."""
    missing = error.filename if isinstance(error, FileNotFoundError) else None
    return source.elsewhere(missing, launch) if launch is not None and isinstance(missing, str) else ""


def as_text(error: BaseException) -> str:
    """Return an error's text, as far as it has one that can be written to a file."""
    try:
        text = str(error)
    except Exception:  # its own method fails
        return ""
    return text.encode(errors="backslashreplace").decode()


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:_MOST_TEXT] if lines else ""


def _because(metrics: Mapping[str, Any]) -> str:
    reason = metrics.get("status_reason")
    return f": {reason}" if reason else ""


def _short(value: Any) -> str:
    try:
        text = repr(value) if isinstance(value, str) else str(value)
    except ValueError:  # an integer of more digits than Python prints
        text = "an integer of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "…"
