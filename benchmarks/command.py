"""Commands of this package that start at once: forked from a process that has loaded its libraries."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MODULES = (
    "parsl_optuna.cli.main",
    "parsl_optuna.cli.run",
    "parsl_optuna.api.session",
    "parsl_optuna.execution.configs",
    "parsl_optuna.execution.kernel",
    "parsl_optuna.execution.scaling",
    "parsl_optuna.report.tables",
    "parsl_optuna.study.driver",
    "parsl.dataflow.dflow",
    "pyarrow.parquet",
)


class Command:
    """A process of ``parsl-optuna``, in a session of its own; the part of `subprocess.Popen` that is used.

    Args:
        arguments: What follows the name of the command.
        folder: Where it starts.
        output: File that its output is appended to.
        environment: Variables to set.

    Attributes:
        pid: Process id.
        returncode: Exit code, negative for a signal; None while it runs.
    """

    def __init__(
        self, arguments: list[str], folder: Path, output: Path, environment: Mapping[str, str]
    ) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become(arguments, folder, output, environment)

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, seconds: float) -> bool:
        """Wait for the end; return whether it came."""
        limit = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < limit:
            time.sleep(0.05)
        return self.returncode is not None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def load(code: Path) -> None:
    """Import what commands need, from a folder with a copy of the code."""
    sys.path[:0] = [str(code / "workflow"), str(code)]
    for name in _MODULES:
        importlib.import_module(name)
    origin = str(sys.modules["parsl_optuna.cli.main"].__file__)
    if not origin.startswith(str(code)):
        raise SystemExit(f"parsl_optuna comes from {origin}, not from {code}")


def _become(arguments: list[str], folder: Path, output: Path, environment: Mapping[str, str]) -> None:
    """Run the command in this process, which was forked for it; return never."""
    code: Any = 70
    try:
        os.setsid()
        os.chdir(folder)
        os.environ.update(environment)
        for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY | os.O_APPEND | os.O_CREAT)):
            handle = os.open(output if number else os.devnull, flags, 0o666)
            os.dup2(handle, number)
            os.close(handle)
        os.dup2(1, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if "LD_PRELOAD" in environment:  # takes a new program
            os.execv(sys.executable, [sys.executable, "-P", "-m", "parsl_optuna", *arguments])
        sys.argv = ["parsl-optuna", *arguments]
        code = _exit_code()
    finally:
        os._exit(code)


def _exit_code() -> int:
    """Run the command and do what an interpreter does at its end."""
    code: Any = 0
    try:
        sys.modules["parsl_optuna.cli.main"].main()
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)
