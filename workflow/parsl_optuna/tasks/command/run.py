"""Runs a program and listens to it."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parsl_optuna.core.errors import TaskError
from parsl_optuna.core.load import dump_yaml
from parsl_optuna.store.files import data_named, followed, mentioned, provide
from parsl_optuna.tasks import source
from parsl_optuna.tasks.base import Metrics, Work
from parsl_optuna.tasks.command.ears import Ears
from parsl_optuna.tasks.command.macros import expand
from parsl_optuna.tasks.command.program import Program
from parsl_optuna.tasks.command.words import split

_TEE, _STANDIN_INFO = (Path(__file__).parent / name for name in ("tee", "standin_info"))
"""Packages that ask the importing system for wandb's version, as Lightning does, find the second one's."""

_LAST_WORDS = 400
"""Characters of a program's last line that a message quotes."""

_SHELL = (".sh", ".bash", ".zsh", "")

_PATHS = ("PYTHONPATH", "PATH")


def run(work: Work) -> Metrics:
    """Run the program to its end; the last value of each metric is the result.

    Raises:
        TaskError: It left with another exit code than 0, or reported nothing.
    """
    problem = work.problem
    for name, digest in problem["files"].items():
        source.unchanged(name, digest, work.launch)
    params = assembled(problem, work.params)
    with tempfile.TemporaryDirectory(prefix="parsl-optuna-") as folder:
        scratch = Path(folder)
        (scratch / "params.json").write_text(json.dumps(params), encoding="utf-8")
        _hand_to_wandb(params, scratch)
        environment = _environment(work, scratch)
        words = expand(
            problem["command"],
            params,
            interpreter="python",
            json_file=str(scratch / "params.json"),
            environment=environment,
            whole_words=problem.get("whole_words", False),
        )
        ears = Ears(work, [scratch / "wandb.jsonl", *_metrics_file(work)])
        if not problem["shell"]:
            words = [_absolute(word, problem["files"], work.launch) for word in words]
        if work.files is not None and Path.cwd() != work.launch:
            _provide(work)
        program = Program(words, environment, shell=problem["shell"])
        code, output = program.listen(ears, work.echo)
        is_deaf = not (scratch / "wandb.jsonl").exists() and _is_told_nothing(work)
    if code != 0:
        raise TaskError(f"{_how(code)}: {_last_line(output)}{_where_it_is(_last_line(output), work.launch)}")
    if not ears.metrics:
        raise TaskError(f"the program reported no metrics; {_hint(work, ears, output)}")
    if is_deaf:
        raise TaskError(
            "the program got no hyperparameters: its command is a list of words, or for a shell, without "
            "${args}; add that, or another macro such as ${args_json_file}"
        )
    if ears.outdated is not None:
        raise TaskError(ears.outdated)
    return ears.metrics


def _is_told_nothing(work: Work) -> bool:
    """Whether a program has no way to its hyperparameters: neither its command, nor wandb or its variable."""
    words = work.problem["command"]
    if not work.params or any("${args" in word for word in words):
        return False
    texts = [" ".join(words)]
    for path in _sources(work.problem, work.launch):
        with contextlib.suppress(OSError):
            texts.append(path.read_text(encoding="utf-8", errors="replace"))
    return not any("wandb" in text.lower() or "PARSL_OPTUNA_" in text for text in texts)


def assembled(problem: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as the program is to see them: JSON texts read, nested ones put together.

    A nested one comes where its first part is: W&B hands parameters over in the order of their names.
    """
    values = {
        name: json.loads(value) if name in problem["json"] and isinstance(value, str) else value
        for name, value in params.items()
    }
    nested = problem["nested"]
    for parent in sorted(nested, key=len, reverse=True):  # a part of a part is put together before it is one
        children = nested[parent]
        values[parent] = {child: values.pop(f"{parent}.{child}") for child in children}
    outermost = sorted(nested, key=len)
    order = (next((outer for outer in outermost if name.startswith(f"{outer}.")), name) for name in params)
    return {name: values[name] for name in dict.fromkeys(order)}


def _metrics_file(work: Work) -> list[Path]:
    name = work.problem["metrics_file"]
    if name is None:
        return []
    if Path.cwd() == work.launch and work.files is not None:
        raise TaskError(
            "metrics_file needs a working folder of the trial's own; remove limits: working_folder: launch"
        )
    return [Path.cwd() / name]


def _provide(work: Work) -> None:
    """Bring the inputs into the working folder, but not a metrics file that an earlier program left."""
    name = work.problem["metrics_file"]
    path = None if name is None else Path.cwd() / name
    is_ours = path is not None and path.exists()  # of an earlier attempt
    provide(_inputs(work), work.launch, Path.cwd())
    if path is None or is_ours:
        return
    if not path.parent.resolve().is_relative_to(Path.cwd().resolve()):
        raise TaskError(
            f"metrics_file: {path.parent.name} has too many files to be copied, so trials share it; "
            "give a path outside of it"
        )
    path.unlink(missing_ok=True)


def _hint(work: Work, ears: Ears, output: bytes) -> str:
    """Say what to do about a program that reported nothing."""
    name = work.problem["metrics_file"]
    if not ears.is_silent:
        return ears.hint
    if any(line.lstrip().startswith(b"{") for line in output.splitlines()):
        return "metrics on stderr are not read; print them on stdout"
    if name is None:
        return ears.hint
    if not (Path.cwd() / name).is_file():
        return f"{name} is not in its working folder; write it there, before the program ends"
    return f'no line of {name} is a JSON object like {{"loss": 0.5}}'


def _absolute(word: str, files: Mapping[str, str], launch: Path) -> str:
    """Return a word, or the path of the file that it names: the program runs in another folder."""
    option, equals, value = word.rpartition("=")
    return f"{option}{equals}{launch / value}" if value in files else word


def _inputs(work: Work) -> list[str]:
    """Return what may name files that the program reads."""
    words = split(work.problem["command"])
    values = [part for word in words for part in (word, word.rpartition("=")[2])]
    named = source.named(work.problem["files"], [*values, *work.params.values()])
    sources = _sources(work.problem, work.launch)
    return [
        name for name in (*named, *mentioned(sources, work.launch)) if name != work.problem["metrics_file"]
    ]


def code_files(problem: Mapping[str, Any], launch: Path) -> list[Path]:
    """Return the files that a program was seen to run or to name: scripts, modules beside them, data."""
    sources = _sources(problem, launch)
    code = [path for path in followed(sources, launch) if path.is_relative_to(launch)]
    return [*code, *(path for path in data_named(sources, launch) if path.name != problem["metrics_file"])]


def _sources(problem: Mapping[str, Any], launch: Path) -> list[Path]:
    return [*_modules(split(problem["command"]), launch), *(launch / name for name in problem["files"])]


def _modules(words: Sequence[str], launch: Path) -> list[Path]:
    """Return the files that ``-m NAME`` runs, if they are where the command was started."""
    names = [name.replace(".", os.sep) for option, name in itertools.pairwise(words) if option == "-m"]
    files = [launch / file for name in names for file in (f"{name}.py", f"{name}/__main__.py")]
    return [file for file in files if file.is_file()]


def _runs_a_module(problem: Mapping[str, Any], launch: Path) -> bool:
    """Whether the command, or a script of the shell that it names, says ``-m``."""
    texts = list(problem["command"])
    for name in problem["files"]:
        if Path(name).suffix in _SHELL:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                texts.append((launch / name).read_text(encoding="utf-8"))
    return any("-m" in text.split() for text in texts)


def _where_it_is(line: str, launch: Path) -> str:
    """Say where a file is of which the program said that there is none."""
    missing = [name for name in re.findall(r"'([^']+)'", line) if not Path(name).exists()]
    if "No such file" not in line or not missing:
        return ""
    return source.elsewhere(missing[-1], launch)


def _how(code: int) -> str:
    if code > 0:
        return f"the program left with exit code {code}"
    return f"the program was ended by {signal.Signals(-code).name}"


def _environment(work: Work, scratch: Path) -> dict[str, str]:
    environment = os.environ | work.problem["env"]
    for name in _PATHS:
        if name in environment:  # relative ones are meant from where the command was started
            environment[name] = _absolute_paths(environment[name], work.launch)
    # Offline runs of wandb stay where ``wandb sync`` is called, not in the folder of each trial.
    environment.setdefault("WANDB_DIR", str(work.launch))
    # A program that asks for python means the one that this package runs in.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    environment |= {
        "WANDB_SWEEP_PARAM_PATH": str(scratch / "sweep.yaml"),
        "WANDB_RUN_ID": f"{work.seed:x}"[:8],
        # Programs ask for it whether they are a run of a sweep; no server gets to see it.
        "WANDB_SWEEP_ID": "parsl-optuna",
        "PARSL_OPTUNA_SCRATCH": str(scratch),
        "PARSL_OPTUNA_WANDB_LOG": str(scratch / "wandb.jsonl"),
        "PARSL_OPTUNA_SEED": str(work.seed),
        "PARSL_OPTUNA_BUDGET_SEC": str(work.deadline.left_sec),
        "PARSL_OPTUNA_LAUNCH_DIR": str(work.launch),
    }
    # ``python -m package`` finds a package where the command was started.
    launch = [str(work.launch)] if _runs_a_module(work.problem, work.launch) else []
    known = environment.get("PYTHONPATH")
    paths = [str(_TEE), *([] if _has_wandb() else [str(_STANDIN_INFO)]), *([known] if known else []), *launch]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment


def _has_wandb() -> bool:
    """Whether the real wandb is installed beside this package; the program's own interpreter looks again."""
    spec = importlib.util.find_spec("wandb")
    # A folder of that name, as its runs leave, is no package.
    return spec is not None and spec.origin is not None


def _absolute_paths(paths: str, launch: Path) -> str:
    return os.pathsep.join(str(launch / entry) for entry in paths.split(os.pathsep))


def _hand_to_wandb(params: Mapping[str, Any], scratch: Path) -> None:
    """Write parameters as W&B's agent does, in YAML 1.1, where 1e-05 as JSON writes it would be a text.

    The stand-in reads the JSON beside it: its interpreter may be without PyYAML.
    """
    whole = {"wandb_version": 1} | {name: {"value": value} for name, value in params.items()}
    (scratch / "sweep.json").write_text(json.dumps(whole), encoding="utf-8")
    (scratch / "sweep.yaml").write_text(dump_yaml(whole), encoding="utf-8")


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:_LAST_WORDS] if lines else "it printed nothing"
