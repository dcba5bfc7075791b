"""Runs a program and listens to it."""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from parsl_optuna.core.errors import TaskError
from parsl_optuna.core.objective import finite
from parsl_optuna.tasks import source
from parsl_optuna.tasks.base import Metrics, Work
from parsl_optuna.tasks.command.macros import expand

_TEE, _STANDIN_INFO = (Path(__file__).parent / name for name in ("tee", "standin_info"))
"""Packages that ask the importing system for wandb's version, as Lightning does, find the second one's."""

_LOOK_SEC = 0.25
_LAST_WORDS = 400


def run(work: Work) -> Metrics:
    """Run the program to its end; what it told last is the result.

    Raises:
        TaskError: It left with another exit code than 0, or told nothing.
    """
    problem = work.problem
    for name, digest in problem["files"].items():
        source.unchanged(name, digest)
    params = assembled(problem, work.params)
    with tempfile.TemporaryDirectory(prefix="parsl-optuna-") as folder:
        scratch = Path(folder)
        (scratch / "params.json").write_text(json.dumps(params), encoding="utf-8")
        (scratch / "sweep.json").write_text(json.dumps(_as_wandb_has_it(params)), encoding="utf-8")
        environment = _environment(work, scratch)
        words = expand(
            problem["command"],
            params,
            interpreter="python",
            json_file=str(scratch / "params.json"),
            environment=environment,
            whole_words=problem.get("whole_words", False),
        )
        ears = Ears(work, scratch)
        code, output = _listen(words, environment, ears, shell=problem["shell"])
        ears.look()
    if code != 0:
        raise TaskError(f"the program left with exit code {code}: {_last_line(output)}")
    if not ears.metrics:
        raise TaskError(
            'the program told no metrics; print a line of JSON like {"loss": 0.5}, or call wandb.log'
        )
    return ears.metrics


def assembled(problem: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as the program is to see them: JSON texts read, nested ones put together."""
    values = {name: json.loads(value) if name in problem["json"] else value for name, value in params.items()}
    nested = problem["nested"]
    for parent in sorted(nested, key=len, reverse=True):  # a part of a part is put together before it is one
        children = nested[parent]
        values[parent] = {child: values.pop(f"{parent}.{child}") for child in children}
    return values


class Ears:
    """Takes in what a program tells, from wherever it does.

    Args:
        work: The run.
        scratch: Its scratch folder.

    Attributes:
        metrics: The newest value of each metric, or the best one where the problem says so.
    """

    def __init__(self, work: Work, scratch: Path) -> None:
        self._work = work
        self._best: Mapping[str, str] = work.problem.get("best", {})
        self._steps = 0
        self._files = [_Tail(scratch / "wandb.jsonl")]
        if work.problem["metrics_file"] is not None:
            path = Path(work.problem["metrics_file"])
            self._files.append(_Tail(path, skip=path.stat().st_size if path.exists() else 0))
        self.metrics: Metrics = {}

    def line(self, text: bytes) -> None:
        """Take a line that may be a JSON object."""
        if not text.lstrip().startswith(b"{"):
            return
        try:
            data = json.loads(text)
        except ValueError:
            return
        summary = data.pop("_summary", None)
        if isinstance(summary, dict):  # what wandb's summary says in the end; no step of its own
            self.metrics |= {name: value for name, value in summary.items() if name not in self._best}
            return
        self._steps += 1
        step = data.pop("_step", data.get("step"))
        self.metrics |= {name: self._kept(name, value) for name, value in data.items()}
        self._work.report(step if isinstance(step, int) else self._steps, data)

    def _kept(self, name: str, value: Any) -> Any:
        """Return the value that counts from now on: the newest, or the best one where that is asked for."""
        number, before = finite(value), finite(self.metrics.get(name))
        if name not in self._best or before is None:
            return value
        if number is None:
            return before
        return (max if self._best[name] == "maximize" else min)(number, before)

    def look(self) -> None:
        """Read what was added to files."""
        for tail in self._files:
            for text in tail.lines():
                self.line(text)


class _Tail:
    def __init__(self, path: Path, skip: int = 0) -> None:
        self._path, self._offset = path, skip

    def lines(self) -> Iterator[bytes]:
        if not self._path.exists():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            content = stream.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        yield from whole.splitlines()


def _listen(words: list[str], environment: dict[str, str], ears: Ears, *, shell: bool) -> tuple[int, bytes]:
    """Run the program; return its exit code and the end of what it said on stderr and stdout."""
    try:
        process = subprocess.Popen(
            words[0] if shell else words,
            shell=shell,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise TaskError(f"'{words[0]}' cannot be started: {error.strerror}") from error
    kept, rest = b"", b""
    try:
        with selectors.DefaultSelector() as both:
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                both.register(stream, selectors.EVENT_READ)
            while both.get_map():
                for key, _ in both.select(_LOOK_SEC):
                    chunk = os.read(key.fd, 1 << 16)
                    if not chunk:
                        both.unregister(key.fileobj)
                        continue
                    kept = (kept + chunk)[-8192:]
                    if key.fileobj is process.stdout:
                        *lines, rest = (rest + chunk).split(b"\n")
                        for text in lines:
                            ears.line(text)
                ears.look()
        ears.line(rest)
        return process.wait(), kept
    finally:
        if process.poll() is None:
            _end(process)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(2.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment(work: Work, scratch: Path) -> dict[str, str]:
    environment = os.environ | work.problem["env"]
    # A program that asks for python means the one that this package runs in.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    environment |= {
        "WANDB_SWEEP_PARAM_PATH": str(scratch / "sweep.json"),
        "WANDB_RUN_ID": f"{work.seed:x}"[:8],
        "PARSL_OPTUNA_SCRATCH": str(scratch),
        "PARSL_OPTUNA_WANDB_LOG": str(scratch / "wandb.jsonl"),
        "PARSL_OPTUNA_SEED": str(work.seed),
        "PARSL_OPTUNA_BUDGET_SEC": str(work.deadline.left_sec),
    }
    paths = [str(_TEE), *([] if _has_wandb() else [str(_STANDIN_INFO)])]
    known = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([*paths, known] if known else paths)
    return environment


def _has_wandb() -> bool:
    """Whether the real wandb is installed beside this package; the program's own interpreter looks again."""
    spec = importlib.util.find_spec("wandb")
    return (
        spec is not None and spec.origin is not None
    )  # a folder of that name, as its runs leave, is no package


def _as_wandb_has_it(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters in the form in which its agent hands them to a run."""
    return {"wandb_version": 1} | {name: {"value": value} for name, value in params.items()}


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:_LAST_WORDS] if lines else "it said nothing"
