"""The executor on Parsl: starts a kernel on first use, submits plain functions, looks after both."""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsl_optuna.core.counted import counted
from parsl_optuna.core.errors import BlockLost, ExecutorError, NotStarted, TaskError, WorkerLost
from parsl_optuna.execution.backend import BackendStatus, Phase
from parsl_optuna.execution.script import LAUNCH_DIR
from parsl_optuna.store.atomic import write_bytes
from parsl_optuna.store.events import EventLog, Kind

if TYPE_CHECKING:
    from parsl import Config

    from parsl_optuna.execution.kernel import Kernel
    from parsl_optuna.execution.scaling import Scaling

_MOST_STARTS = 3
"""A second death of an interchange can be chance; a fourth is not."""

_MOST_TEXT = 600
"""Letters of what Parsl says of a scheduler: a few lines."""

_FOUND_PERIODS = 3
"""A pool looks for workers to replace once per heartbeat, and notices a dead one within another."""


_JOB_NAME = "job_name"
"""File in the run folder."""


class ParslExecutor:
    """Runs functions on the workers of one of Parsl's executors.

    The kernel is started by the first submit, and again when its interchange dies.

    Args:
        make_config: Returns a new configuration at every call.
        events: Where blocks and replacements are recorded.
        label: Which of the configuration's executors to use; None uses the only one, or the only one that has
            worker processes.
        run_dir: Where the name of all jobs of these results is kept.
    """

    isolates = True

    def __init__(
        self,
        make_config: Callable[[], Config],
        events: EventLog | None = None,
        label: str | None = None,
        run_dir: Path | None = None,
    ) -> None:
        self._make_config, self._events = make_config, events or EventLog()
        self._label, self._run_dir = label, run_dir
        self._kernel: Kernel | None = None
        self._executor: Any = None
        self._app: Any = None
        self._pending: dict[Future[Any], Any] = {}
        self._overdue: dict[Future[Any], float] = {}
        self._starts = 0
        self._draining = False

    def submit(self, function: Callable[..., Any], *args: Any, urgency: float = 0.0) -> Future[Any]:
        """Run ``function(*args)`` on a worker; *function* must be importable there by name."""
        if self._kernel is None:
            self._start()
        future: Future[Any] = Future()
        # Parsl counts priorities downwards; executors of other kinds know none.
        options = {"parsl_resource_specification": {"priority": -urgency}} if self._is_htex() else {}
        inner = self._app(function, *args, **options)
        self._pending[future] = inner
        inner.add_done_callback(partial(self._settle, future))
        return future

    def check(self) -> None:
        """Fail what is in flight when an interchange has died, as Parsl would wait for ever."""
        if self._kernel is None:
            return
        scaling = self._scaling()
        if scaling is not None and scaling.failure is not None:
            raise scaling.failure
        if self._kernel.is_dead():
            self._bury()
        for future, limit in list(self._overdue.items()):
            if time.monotonic() > limit:
                self._give_up(future, BlockLost("it is out past its deadline, and its worker was not found"))
        if self._draining and scaling is not None and not scaling.draining:
            scaling.drain()
        if self._draining and scaling is not None and not _can_run(scaling):
            for future in list(self._pending):
                self._give_up(future, NotStarted("the driver is leaving"))

    def status(self) -> BackendStatus | None:
        """Return what it is doing."""
        scaling = self._scaling()
        return scaling.status if scaling is not None else None

    def replace(self, future: Future[Any]) -> None:
        """Replace the worker that holds a submission."""
        if future not in self._pending or future in self._overdue:
            return
        period = getattr(self._executor, "heartbeat_period", 1)
        self._overdue[future] = time.monotonic() + _FOUND_PERIODS * period
        task = _htex_task(self._pending[future])
        if task is None:
            return
        from parsl_optuna.execution.watched_pool import REPLACE  # noqa: PLC0415

        folder = Path(self._executor.worker_logdir) / REPLACE
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(task)).touch()
        self._events.add(Kind.WORKER_REPLACED, task=task, reason="its trial is out past its deadline")

    def drain(self) -> None:
        """Give back blocks that have not started, and ask for none."""
        self._draining = True  # the next check does it: this may be called from a signal handler

    def close(self) -> None:
        """Stop the blocks and the kernel."""
        if self._starts == 0 and self._run_dir is not None and (self._run_dir / _JOB_NAME).exists():
            self._prepare()  # a driver that died may have left jobs, though there was nothing to run
        if self._kernel is None:
            return
        scaling = self._scaling()
        if scaling is not None:
            scaling.close()
        kernel, self._kernel = self._kernel, None
        if not kernel.close():
            kernel.abandon()

    def _scaling(self) -> Scaling | None:
        from parsl_optuna.execution.scaling import Scaling  # noqa: PLC0415

        found = getattr(self._executor, "block_error_handler", None)
        return found if isinstance(found, Scaling) else None

    def _is_htex(self) -> bool:
        from parsl import HighThroughputExecutor  # noqa: PLC0415
        from parsl.executors import MPIExecutor  # noqa: PLC0415

        return isinstance(self._executor, HighThroughputExecutor) and not isinstance(
            self._executor, MPIExecutor
        )

    def _settle(self, future: Future[Any], inner: Future[Any]) -> None:
        """Pass on what a Parsl future came to; called in a thread of Parsl's."""
        self._pending.pop(future, None)
        self._overdue.pop(future, None)
        error = inner.exception()
        if error is None:
            _resolve(future, result=inner.result())
        else:
            _resolve(future, error=translated(error))

    def _give_up(self, future: Future[Any], error: WorkerLost | NotStarted) -> None:
        self._pending.pop(future, None)
        self._overdue.pop(future, None)
        _resolve(future, error=error)

    def _start(self) -> None:
        # Half a second that a run with nothing to do should not pay.
        from parsl import python_app  # noqa: PLC0415

        from parsl_optuna.execution.kernel import Kernel  # noqa: PLC0415

        # Parsl starts its own programs by name; they are beside this Python, activated or not.
        programs = str(Path(sys.executable).parent)
        os.environ["PATH"] = os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])
        os.environ[LAUNCH_DIR] = str(Path.cwd())
        config = self._prepare()
        self._starts += 1
        self._kernel = Kernel(config)
        # Wrapped here and not decorated there, the function travels by name.
        self._app = python_app(_call, data_flow_kernel=self._kernel.dfk, executors=[self._executor.label])

    def _prepare(self) -> Config:
        """Return a configuration for this executor, once jobs of a dead driver are cancelled."""
        from parsl_optuna.execution.configs import choose  # noqa: PLC0415

        config = self._make_config()
        self._executor = choose(config, self._label)
        scaling = self._scaling()
        if scaling is not None:
            scaling.begin(job_name(self._run_dir), self._events, is_first=self._starts == 0)
        return config

    def _bury(self) -> None:
        """Take leave of a kernel whose interchange has died."""
        assert self._kernel is not None
        said = self._kernel.epitaph()
        scaling = self._scaling()
        if scaling is not None:
            scaling.close()
        self._kernel.abandon()
        self._kernel = None
        self._events.add(Kind.INTERCHANGE_REPLACED, reason=said.splitlines()[0])
        for future in list(self._pending):
            self._give_up(future, BlockLost("the interchange of Parsl died"))
        if self._starts > _MOST_STARTS:
            raise ExecutorError(f"it died {counted(self._starts, 'time')}: {said}")


def job_name(run_dir: Path | None) -> str:
    """Return the name of all jobs for the results that *run_dir* belongs to; it moves with them."""
    if run_dir is None:
        return "parsl-optuna"
    path = run_dir / _JOB_NAME
    with contextlib.suppress(OSError):
        if name := path.read_text().strip():
            return name
    name = f"po-{secrets.token_hex(4)}"  # PBS takes 15 letters
    write_bytes(path, name.encode())
    return name


def _call(
    function: Callable[..., Any], *args: Any, parsl_resource_specification: dict[str, Any] | None = None
) -> Any:
    """Call a function on a worker, where Parsl hands on what was meant for its queue."""
    del parsl_resource_specification
    try:
        return function(*args)
    except Exception as error:
        raise portable(error) from None


def portable(error: Exception) -> Exception:
    """Return an error that can be sent: one that the driver cannot unpickle ends Parsl's thread of results.

    Causes do not travel. Where the error itself cannot, a `TaskError` says what it was.
    """
    error.__cause__ = error.__context__ = None
    try:
        pickle.dumps(error)
        reduced: Any = error.__reduce__()
        reduced[0](*reduced[1])  # as the driver will
    except Exception:
        return TaskError(f"{type(error).__name__}: {error}")
    return error


def _can_run(scaling: Scaling) -> bool:
    """Whether a block runs, or may yet be found to run."""
    return any(held.job.phase is Phase.RUNNING for held in scaling.blocks.living().values())


def _htex_task(inner: Any) -> int | None:
    """Return the number under which workers know a submission; None where they do not."""
    record = getattr(inner, "task_record", None) or {}
    return getattr(record.get("exec_fu"), "parsl_executor_task_id", None)


def _resolve(future: Future[Any], *, result: Any = None, error: BaseException | None = None) -> None:
    with contextlib.suppress(InvalidStateError):  # the first answer counts
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def translated(error: BaseException) -> BaseException:
    """Return one of our own errors for those of Parsl.

    Lost workers can be tried again; whatever else Parsl says is a fault of it, or of its configuration.
    """
    from parsl.errors import ParslError  # noqa: PLC0415
    from parsl.executors.errors import BadStateException, ScalingFailed  # noqa: PLC0415
    from parsl.executors.high_throughput import errors as htex  # noqa: PLC0415
    from parsl.jobs.errors import TooManyJobFailuresError  # noqa: PLC0415

    text = " ".join(str(error).split())
    if isinstance(error, htex.ManagerLost):
        return BlockLost(text)
    if isinstance(error, htex.WorkerLost):
        return WorkerLost(text)
    if isinstance(error, (BadStateException, ScalingFailed, TooManyJobFailuresError)):
        lines = dict.fromkeys(line.strip() for line in str(error).splitlines() if line.strip())
        return ExecutorError(f"the scheduler cannot start workers: {' '.join(lines)[:_MOST_TEXT]}")
    if isinstance(error, ParslError):
        return ExecutorError(f"Parsl: {type(error).__name__}: {text[:_MOST_TEXT]}")
    return error
