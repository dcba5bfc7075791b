"""W&B sweep files: read as W&B reads them, checked, flattened. Pure but for reading."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from parsl_optuna.core.errors import Mistakes, SpecError, nearest
from parsl_optuna.core.load import read_yaml_1_1, structure
from parsl_optuna.study.plan.sweep.distributions import Distribution
from parsl_optuna.study.plan.sweep.early import read_bands
from parsl_optuna.study.plan.sweep.parameters import Inherited, Parameters, read_parameters
from parsl_optuna.study.search.hyperband import HyperbandSettings
from parsl_optuna.tasks.command.macros import macros_inside

DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
_IMPUTE = ("latest", "best", "worst")
_SERVICE = (
    "name",
    "description",
    "project",
    "entity",
    "controller",
    "job",
    "image_uri",
    "apiVersion",
    "kind",
)
"""Keys of W&B that mean nothing without its server."""

_KEYS = ("method", "parameters", "program", "metric", "metrics", "early_terminate", "command", "run_cap",
         "scheduler", *_SERVICE)  # fmt: skip
_CLOSE = 0.75
"""Similarity of a key that is likely to be a slip: early_termination has 0.85 to early_terminate."""

_SHELL_SCRIPTS = (".sh", ".bash", ".zsh")

_METRIC_KEYS = ("name", "goal", "target", "impute", "impute_while_running", "summary")


@dataclass(frozen=True)
class Metric:
    """What a sweep optimises.

    Attributes:
        name: As it is logged.
        goal: Which way is better.
        target: No run is started any more once it is reached.
        summary: Whether the last or the best value that a run logs counts; a key of this package.
    """

    name: str
    goal: Literal["minimize", "maximize"] = "minimize"
    target: float | None = None
    summary: Literal["last", "best"] = "last"


@dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
        method: How runs are chosen: ``grid``, ``random`` or ``bayes``.
        parameters: By flat name: parts of a nested parameter are ``outer.inner``; in W&B's order.
        nested: Flat name of a nested parameter -> names of its parts.
        program: What runs.
        command: How it is called, in words with macros.
        metric: What is optimised; None leaves it to the task.
        others: Further metrics.
        bands: When hopeless runs are stopped; None never.
        run_cap: At most so many runs.
        notes: What people should know, a line each.
    """

    method: str
    parameters: Mapping[str, Distribution]
    nested: Mapping[str, list[str]] = field(default_factory=dict)
    program: str | None = None
    command: tuple[str, ...] = DEFAULT_COMMAND
    metric: Metric | None = None
    others: tuple[Metric, ...] = ()
    bands: HyperbandSettings | None = None
    run_cap: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def constants(self) -> dict[str, Any]:
        """Parameters with one value."""
        return {name: one.values[0] for name, one in self.parameters.items() if one.is_constant}


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file: what W&B's schema accepts is accepted, what its client warns of is noted.

    Raises:
        SpecError: Every mistake in it, each with its place.
    """
    where = f"{path} $"
    raw, repeated = read_yaml_1_1(path)
    mistakes, notes = Mistakes(), list(repeated)
    _note_unknown(raw, notes)
    method = ""
    others: tuple[Metric, ...] = ()
    metric = bands = program = run_cap = None
    command, parameters = DEFAULT_COMMAND, Parameters()
    with mistakes:
        method = _method(raw, where, notes)
    with mistakes:
        parameters = read_parameters(_parameters(raw, where), f"{where}.parameters", mistakes)
        notes += parameters.notes
    with mistakes:
        metric, others = _metrics(raw, where, notes)
    with mistakes:
        bands = read_bands(
            raw.get("early_terminate"), f"{where}.early_terminate", notes, has_metric=metric is not None
        )
    with mistakes:
        command = _command(raw.get("command"), f"{where}.command")
    with mistakes:
        program = _program(raw.get("program"), f"{where}.program")
    _note_command(program, command, notes)
    with mistakes:
        run_cap = _run_cap(raw.get("run_cap"), f"{where}.run_cap")
    if method == "bayes" and metric is None and "metric" not in raw and "metrics" not in raw:
        mistakes.add(f"{where}.metric: is missing; bayes needs one, e.g. {{name: val_loss, goal: minimize}}")
    for name, one in parameters.flat.items() if method == "grid" else ():
        with mistakes:
            one.listed(f"{where}.parameters.{name}")
    mistakes.raise_any()
    return Sweep(
        method,
        parameters.flat,
        parameters.nested,
        program,
        command,
        metric,
        others,
        bands,
        run_cap,
        tuple(dict.fromkeys(notes)),
    )


def sources(sweep: Sweep) -> list[str]:
    """Return the results folders that parameters are taken from."""
    values = [value for one in sweep.parameters.values() for value in one.values]
    return sorted({value.folder for value in values if isinstance(value, Inherited)})


def _note_unknown(raw: Mapping[Any, Any], notes: list[str]) -> None:
    for key in raw:
        if key not in _KEYS:
            close = difflib.get_close_matches(str(key), _KEYS, n=1, cutoff=_CLOSE)
            cure = f"; did you mean '{close[0]}'?" if close else ""
            notes.append(f"{key}: no key of a sweep, without effect{cure}")


def _method(raw: Mapping[Any, Any], where: str, notes: list[str]) -> str:
    method = raw.get("method")
    if method is None:
        raise SpecError(f"{where}.method: is missing; it is grid, random or bayes")
    if method not in ("grid", "random", "bayes", "custom"):
        hint = nearest(str(method), ("grid", "random", "bayes"))
        raise SpecError(f"{where}.method: unknown value {method!r}; {hint}")
    scheduler = raw.get("scheduler")
    engine = scheduler.get("engine") if isinstance(scheduler, Mapping) else None
    if scheduler is not None and engine not in ("optuna", "ax", "wandb"):
        notes.append("scheduler: no effect: its engine is none of optuna, ax, wandb")
    elif isinstance(scheduler, Mapping) and set(scheduler) > {"engine"}:
        parts = ", ".join(sorted(str(key) for key in scheduler if key != "engine"))
        notes.append(f"scheduler: no effect: {parts} (--sampler chooses the search)")
    if method != "custom":
        return method
    notes.append("method custom: a search by Optuna, as method bayes is here")
    return "bayes"


def _parameters(raw: Mapping[Any, Any], where: str) -> Any:
    if "parameters" in raw:
        return raw["parameters"]
    scheduler = raw.get("scheduler")
    if isinstance(scheduler, Mapping) and scheduler.get("search_space"):
        raise SpecError(
            f"{where}.parameters: is missing; the search space of scheduler.source cannot be read here"
        )
    raise SpecError(
        f"{where}.parameters: is missing; name at least one, such as {{lr: {{values: [0.1, 0.2]}}}}"
    )


def _metrics(
    raw: Mapping[Any, Any], where: str, notes: list[str]
) -> tuple[Metric | None, tuple[Metric, ...]]:
    """Return the leading metric, and the others."""
    if raw.get("metrics") is None:
        entry = raw.get("metric")
        return (None if entry is None else _metric(entry, f"{where}.metric", notes)), ()
    if raw.get("metric") is not None:
        raise SpecError(f"{where}.metrics: goes without metric; keep one of the two")
    if not isinstance(raw["metrics"], list) or not raw["metrics"]:
        raise SpecError(f"{where}.metrics: must be a list of mappings such as {{name: loss}}")
    found = [_metric(entry, f"{where}.metrics[{i}]", notes) for i, entry in enumerate(raw["metrics"])]
    return found[0], tuple(found[1:])


def _metric(raw: Any, where: str, notes: list[str]) -> Metric:
    if not isinstance(raw, Mapping):
        raise SpecError(f"{where}: must be a mapping such as {{name: val_loss, goal: minimize}}, got {raw!r}")
    for key in raw:
        if key not in _METRIC_KEYS:
            notes.append(f"metric.{key}: without effect; {nearest(str(key), _METRIC_KEYS)}")
    if raw.get("impute") is not None:
        known = "" if raw["impute"] in _IMPUTE else f" (and W&B knows {', '.join(_IMPUTE)} only)"
        notes.append(f"metric.impute: without effect: a failed run has no value here{known}")
    if raw.get("impute_while_running") not in (None, False, "false"):
        notes.append("metric.impute_while_running: without effect: a running run has no value here")
    kept = {key: raw[key] for key in ("name", "goal", "target", "summary") if raw.get(key) is not None}
    return structure(Metric, kept, where)


def _command(raw: Any, where: str) -> tuple[str, ...]:
    if not raw:
        return DEFAULT_COMMAND
    if not isinstance(raw, list):
        raise SpecError(f"{where}: must be a list of words, such as [python, ${{program}}, ${{args}}]")
    for index, word in enumerate(raw):
        if isinstance(word, (Mapping, list)):
            raise SpecError(f"{where}[{index}]: must be a word, got {word!r}; quote it")
    return tuple(str(word) for word in raw)


def _program(raw: Any, where: str) -> str | None:
    if raw is not None and not isinstance(raw, str):
        raise SpecError(f"{where}: must be the path of a script, got {raw!r}")
    return raw


def _note_command(program: str | None, command: tuple[str, ...], notes: list[str]) -> None:
    """Say where W&B, too, calls a program in a way that cannot have been meant."""
    inside = sorted({f"${{{name}}}" for name in macros_inside(command)})
    if inside:
        notes.append(
            f"command: {', '.join(inside)} inside of a word stays as it is, as at W&B: "
            "a macro is a word of its own"
        )
    python = "${interpreter}" in command and "${program}" in command
    if python and program is not None and Path(program).suffix in _SHELL_SCRIPTS:
        notes.append(
            f"command: ${{interpreter}} is python, and {program} is a script of the shell; "
            "write command: [bash, ${program}, ${args}]"
        )


def _run_cap(raw: Any, where: str) -> int | None:
    if raw is None:
        return None
    is_whole = isinstance(raw, int) or (isinstance(raw, float) and raw.is_integer())
    if isinstance(raw, bool) or not is_whole or raw < 1:
        raise SpecError(f"{where}: {raw!r} must be a whole number of at least 1")
    return int(raw)
