"""Starts and ends Parsl's data flow kernel, with its interchange tied to this process."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsl_optuna.core.errors import ExecutorError
from parsl_optuna.execution import script

if TYPE_CHECKING:
    from parsl import Config

_FAREWELL_SEC = 5.0
"""A kernel that has not ended so long after an interchange of its own never will."""

_LOOK_SEC = 0.05


class Kernel:
    """A running data flow kernel.

    It lives in a thread of its own: Linux ends a guarded interchange with the *thread* that started it.

    Args:
        config: Parsl's configuration; it can be used once.

    Raises:
        ExecutorError: It does not start, with what its interchange printed.
    """

    def __init__(self, config: Config) -> None:
        self.executors: Sequence[Any] = list(config.executors)
        self._outputs = [
            tie(executor, Path(config.run_dir), index) for index, executor in enumerate(self.executors)
        ]
        self.dfk: Any = None
        self._error: Exception | None = None
        self._ended = threading.Event()
        host = threading.Thread(target=self._host, args=(config,), daemon=True)
        host.start()
        while self.dfk is None:
            if self._error is not None:
                raise ExecutorError(f"Parsl cannot start: {self._error}") from self._error
            if self.is_dead():
                raise ExecutorError(self.epitaph())
            time.sleep(_LOOK_SEC)

    def is_dead(self) -> bool:
        """Whether an interchange has ended, or the thread that takes results from it."""
        threads = [getattr(executor, "_result_queue_thread", None) for executor in self.executors]
        is_deaf = self.dfk is not None and any(thread and not thread.is_alive() for thread in threads)
        return is_deaf or any(process.poll() is not None for process in self._interchanges())

    def epitaph(self) -> str:
        """Say how an interchange ended, with the end of what it printed."""
        for executor, output in zip(self.executors, self._outputs, strict=True):
            process = getattr(executor, "interchange_proc", None)
            if process is None or process.poll() is None:
                continue
            lines = script.ending(output) if output is not None else []
            said = f"; {output} ends with" if lines else ""
            how = (
                f"exit status {process.returncode}"
                if process.returncode >= 0
                else f"signal {-process.returncode}"
            )
            return "\n".join([f"the interchange of Parsl ended with {how}{said}", *lines])
        return "the interchange of Parsl ended"

    def close(self) -> bool:
        """Stop everything; return False where that does not work, as an interchange has died.

        That can happen meanwhile: the signal that ends this process may have gone to its whole group.
        """
        if self.is_dead():
            return False
        cleaning = threading.Thread(target=self.dfk.cleanup, daemon=True)
        cleaning.start()
        died_at = None
        while cleaning.is_alive():
            cleaning.join(_LOOK_SEC)
            if died_at is None and self.is_dead():
                died_at = time.monotonic()
            # One that is told to end by the cleaning itself is not waited for much longer.
            if died_at is not None and time.monotonic() - died_at > _FAREWELL_SEC:
                break
        self._ended.set()
        return not cleaning.is_alive()

    def abandon(self) -> None:
        """Cancel the blocks and forget the kernel; its own clean-up would wait for the dead interchange."""
        atexit.unregister(self.dfk.atexit_cleanup)
        for executor in self.executors:
            provider = getattr(executor, "provider", None)
            if provider is not None and provider.resources:
                provider.cancel(list(provider.resources))
        self._ended.set()

    def _host(self, config: Config) -> None:
        from parsl.dataflow.dflow import DataFlowKernel  # noqa: PLC0415

        try:
            self.dfk = DataFlowKernel(config)
        except Exception as error:  # told by the thread that waits
            self._error = error
            return
        self._ended.wait()

    def _interchanges(self) -> list[Any]:
        found = [getattr(executor, "interchange_proc", None) for executor in self.executors]
        return [process for process in found if process is not None]


def tie(executor: Any, run_dir: Path, index: int) -> Path | None:
    """Have an executor's interchange end with this process, and its workers with the interchange.

    Returns:
        Where the interchange's output goes; None for an executor without one.
    """
    command = getattr(executor, "interchange_launch_cmd", None)
    if command is None:
        return None
    if list(command) == ["interchange.py"]:  # else a user has said how it is started
        command = [sys.executable, "-P", "-m", "parsl.executors.high_throughput.interchange"]
    run_dir.mkdir(parents=True, exist_ok=True)
    output = run_dir.absolute() / f"interchange-{index}-{time.time_ns()}.out"
    guard = [sys.executable, "-P", "-m", "parsl_optuna.worker.parent_guard", str(os.getpid())]
    executor.interchange_launch_cmd = [*guard, str(output), *command]
    if executor.launch_cmd.startswith(
        "process_worker_pool.py "
    ):  # else a user has said how workers are started
        executor.launch_cmd = script.stock_pool_line(executor.launch_cmd)
    return output
