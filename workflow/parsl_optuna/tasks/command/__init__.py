"""Any program as a task: it gets the hyperparameters on its command line, and tells metrics as it likes.

As lines of JSON on stdout, by ``wandb.log``, or in a file of JSON lines; the last value of a metric is its
result. The program never passes through a shell, unless asked.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.load import structure
from parsl_optuna.core.space import Space
from parsl_optuna.tasks import source
from parsl_optuna.tasks.base import Task
from parsl_optuna.tasks.command.macros import check
from parsl_optuna.tasks.command.words import inputs


@dataclass(frozen=True)
class Written:
    """A problem as written.

    Attributes:
        command: Words, or one text; ``${args}`` and the other macros of W&B are filled in. To a text
            without such a macro ``${args}`` is added.
        env: More environment variables.
        files: Files whose content belongs to the identity; those that the command names are added.
        metrics_file: JSON lines that the program writes, in its working folder.
        shell: Whether the text is for ``/bin/sh``.
        nested: Parameters that are parts of one mapping: ``{optimizer: [lr, momentum]}`` for
            ``optimizer.lr`` and ``optimizer.momentum``; ``optimizer.lr`` may have parts of its own.
        json: Parameters whose values are JSON texts.
        whole_words: Whether macros count only where they are whole words, as at W&B.
        best: Metrics whose best value counts, not their last one, and which way is better.
    """

    command: Any
    env: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    metrics_file: str | None = None
    shell: bool = False
    nested: dict[str, list[str]] = field(default_factory=dict)
    json: tuple[str, ...] = ()
    whole_words: bool = False
    best: dict[str, Literal["minimize", "maximize"]] = field(default_factory=dict)


def resolve(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Split the command and take the checksums of the files that it names."""
    written = structure(Written, raw, where)
    words = _words(written, where)
    check(words, f"{where}.command")
    _check_metrics_file(written.metrics_file, f"{where}.metrics_file")
    files = {name: source.hashed(name, f"{where}.files")[1] for name in written.files}
    for name in inputs(words):
        path = source.find(name) if name != written.metrics_file else None
        if path is not None:
            files[name] = source.checksum(path)
    resolved: dict[str, Any] = {
        "command": words,
        "env": written.env,
        "files": files,
        "metrics_file": written.metrics_file,
        "shell": written.shell,
        "nested": written.nested,
        "json": list(written.json),
    }
    # These are part of an id only where they change what happens.
    if written.whole_words:
        resolved["whole_words"] = True
    if written.best:
        resolved["best"] = written.best
    return resolved


def _check_metrics_file(name: str | None, where: str) -> None:
    """Refuse a path that several trials would share: each would read the others' lines."""
    path = PurePath("metrics.jsonl" if name is None else name)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise SpecError(
            f"{where}: '{name}' must be a path inside of the trial's working folder, such as metrics.jsonl"
        )


def _words(written: Written, where: str) -> list[str]:
    command = written.command
    if isinstance(command, str):
        if written.shell:
            return [command]
        try:
            command = shlex.split(command)
        except ValueError as error:
            raise SpecError(f"{where}.command: {error}") from error
        if not any("${args" in word for word in command):
            command.append("${args}")
    if (
        not isinstance(command, list)
        or not command
        or not all(isinstance(one, (str, int, float)) for one in command)
    ):
        raise SpecError(f"{where}.command: must be a text or a list of words")
    return [str(word) for word in command]


def complete(
    problem: Mapping[str, Any], method: str, params: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return *params* as they are: what a program takes is for the user to know."""
    del problem, method, where
    return dict(params)


def space(problem: Mapping[str, Any], method: str) -> Space:
    """Return nothing: what varies is for the user to say."""
    del problem, method
    return Space()


def _code_files(problem: Mapping[str, Any], launch: Path) -> list[Path]:
    from parsl_optuna.tasks.command.run import code_files  # noqa: PLC0415  the driver needs none of it

    return code_files(problem, launch)


TASK = Task(
    name="command",
    version=1,
    resolve=resolve,
    methods=("command",),
    complete=complete,
    space=space,
    run="parsl_optuna.tasks.command.run:run",
    open_params=True,
    code_files=_code_files,
)
