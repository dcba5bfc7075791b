"""The only importer of Parsl: loads a configuration on first use and submits plain functions."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsl_optuna.core.errors import BlockLost, ExecutorError, SpecError, WorkerLost
from parsl_optuna.core.resources import ClusterSpec

if TYPE_CHECKING:
    from parsl import Config

_MOST_STARTS = 3

_MOST_TEXT = 600

_FAREWELL_SEC = 5.0
"""A kernel that has not ended so long after an interchange of its own never will."""

ONE_THREAD = "; ".join(
    f"export {name}=1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
)
"""Shell line: workers share cores by number, so each keeps to one thread."""


class ParslExecutor:
    """A Parsl data flow kernel that is started by the first submit, and again when its interchange dies.

    Args:
        make_config: Returns a new configuration at every call.
    """

    isolates = True

    def __init__(self, make_config: Callable[[], Config]) -> None:
        self._make_config = make_config
        self._kernel: Any = None
        self._app: Any = None
        self._pending: set[Future[Any]] = set()
        self._starts = 0
        self._has_priorities = False

    def submit(self, function: Callable[..., Any], *args: Any, urgency: float = 0.0) -> Future[Any]:
        """Run ``function(*args)`` on a worker; *function* must be importable there by name."""
        if self._kernel is None:
            self._start()
        if self._app is None:
            from parsl import python_app  # noqa: PLC0415

            # Wrapped here and not decorated there, the function travels by name.
            self._app = python_app(_call, data_flow_kernel=self._kernel)
        future: Future[Any] = Future()
        self._pending.add(future)
        # Parsl counts priorities downwards.
        options = {"parsl_resource_specification": {"priority": -urgency}} if self._has_priorities else {}
        self._app(function, *args, **options).add_done_callback(partial(self._settle, future))
        return future

    def check(self) -> None:
        """Fail what is in flight when an interchange has died: Parsl would wait for ever."""
        if self._kernel is None or not _is_dead(self._kernel):
            return
        self._abandon()
        for future in list(self._pending):
            _resolve(future, error=BlockLost("the interchange of Parsl died"))
        self._pending.clear()
        if self._starts > _MOST_STARTS:
            raise ExecutorError(f"the interchange of Parsl died {self._starts} times; see its log in runinfo")

    def close(self) -> None:
        """Stop the blocks and the kernel."""
        if self._kernel is None:
            return
        if not _clean_up(self._kernel):
            self._abandon()
        self._kernel, self._app = None, None

    def _settle(self, future: Future[Any], inner: Future[Any]) -> None:
        """Pass on what a Parsl future came to; called in a thread of Parsl's."""
        self._pending.discard(future)
        error = inner.exception()
        if error is None:
            _resolve(future, result=inner.result())
        else:
            _resolve(future, error=_translated(error))

    def _start(self) -> None:
        # Half a second that a run with nothing to do should not pay.
        from parsl.dataflow.dflow import DataFlowKernel  # noqa: PLC0415

        # Parsl starts its own programs by name; they are beside this Python, activated or not.
        _prepend("PATH", str(Path(sys.executable).parent))
        _prepend("PYTHONPATH", str(Path.cwd()))  # workers find a user's task where the driver did
        config = self._make_config()
        for executor in config.executors:
            _tie(executor)
        self._starts += 1
        self._has_priorities = all(_has_priorities(one) for one in config.executors)
        try:
            with _deaf_children():
                self._kernel = DataFlowKernel(config)
        except Exception as error:
            raise ExecutorError(f"Parsl cannot start: {error}") from error

    def _abandon(self) -> None:
        """Cancel the blocks and forget the kernel; its own clean-up would wait for the dead interchange."""
        kernel, self._kernel, self._app = self._kernel, None, None
        atexit.unregister(kernel.atexit_cleanup)
        for executor in kernel.executors.values():
            provider = getattr(executor, "provider", None)
            if provider is not None and provider.resources:
                provider.cancel(list(provider.resources))


def _call(
    function: Callable[..., Any], *args: Any, parsl_resource_specification: dict[str, Any] | None = None
) -> Any:
    """Call a function on a worker, where Parsl hands on what was meant for its queue."""
    del parsl_resource_specification
    return function(*args)


def _tie(executor: Any) -> None:
    """Have an executor's interchange end with this process, and its workers with the interchange."""
    command = getattr(executor, "interchange_launch_cmd", None)
    if command is None:
        return
    executor.interchange_launch_cmd = [sys.executable, "-m", "parsl_optuna.worker.parent_guard", *command]
    program, _, arguments = executor.launch_cmd.partition(" ")
    if program == "process_worker_pool.py":  # else a user has said how workers are started
        executor.launch_cmd = f"python3 -m parsl_optuna.execution.watched_pool {arguments}"


def _has_priorities(executor: Any) -> bool:
    """Whether an executor queues by priority; others refuse to hear of it."""
    from parsl import HighThroughputExecutor  # noqa: PLC0415
    from parsl.executors import MPIExecutor  # noqa: PLC0415

    return isinstance(executor, HighThroughputExecutor) and not isinstance(executor, MPIExecutor)


def _clean_up(kernel: Any) -> bool:
    """Have a kernel stop everything; return False where it cannot, as an interchange has died.

    That can happen meanwhile: the signal that ends this process may have gone to its whole group.
    """
    if _is_dead(kernel):
        return False
    cleaning = threading.Thread(target=kernel.cleanup, daemon=True)
    cleaning.start()
    died_at = None
    while cleaning.is_alive():
        cleaning.join(0.05)
        if died_at is None and _is_dead(kernel):
            died_at = time.monotonic()
        # One that is told to end by the cleaning itself is not waited for much longer.
        if died_at is not None and time.monotonic() - died_at > _FAREWELL_SEC:
            return not cleaning.is_alive()
    return True


def _is_dead(kernel: Any) -> bool:
    """Whether an interchange has ended."""
    processes = [getattr(executor, "interchange_proc", None) for executor in kernel.executors.values()]
    return any(process is not None and process.poll() is not None for process in processes)


def _resolve(future: Future[Any], *, result: Any = None, error: BaseException | None = None) -> None:
    with contextlib.suppress(InvalidStateError):  # the first answer counts
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _translated(error: BaseException) -> BaseException:
    """Return one of our own errors for those by which Parsl tells of lost workers."""
    from parsl.executors.errors import BadStateException, ScalingFailed  # noqa: PLC0415
    from parsl.executors.high_throughput import errors as htex  # noqa: PLC0415
    from parsl.jobs.errors import TooManyJobFailuresError  # noqa: PLC0415

    text = " ".join(str(error).split())
    if isinstance(error, htex.ManagerLost):
        return BlockLost(text)
    if isinstance(error, htex.WorkerLost):
        return WorkerLost(text)
    if isinstance(error, (BadStateException, ScalingFailed, TooManyJobFailuresError)):
        return ExecutorError(f"the scheduler cannot start workers: {text[:_MOST_TEXT]}")
    return error


@contextlib.contextmanager
def _deaf_children() -> Iterator[None]:
    """Start children that ignore Ctrl-C: the driver alone hears it, and needs them to drain."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _prepend(variable: str, folder: str) -> None:
    """Put *folder* first in a path variable that children inherit."""
    known = os.environ.get(variable)
    os.environ[variable] = folder + (os.pathsep + known if known else "")


def local_config(run_dir: Path, workers: int | None = None) -> Config:
    """Return a configuration with one single-threaded worker process per core of this machine."""
    from parsl import Config, HighThroughputExecutor  # noqa: PLC0415
    from parsl.jobs.error_handlers import windowed_error_handler  # noqa: PLC0415
    from parsl.providers import LocalProvider  # noqa: PLC0415

    executor = HighThroughputExecutor(
        label="local",
        address="127.0.0.1",
        encrypted=True,
        max_workers_per_node=workers or len(os.sched_getaffinity(0)),
        heartbeat_period=2,  # a dead worker is noticed, and replaced, after this time
        heartbeat_threshold=15,
        block_error_handler=windowed_error_handler,
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1, worker_init=ONE_THREAD),
    )
    return Config(
        executors=[executor],
        strategy="simple",  # replaces a block that was lost
        strategy_period=0.2,  # the first block is asked for one period after the start
        run_dir=str(run_dir),
        initialize_logging=False,
    )


def file_config(path: Path, cluster: ClusterSpec | None = None) -> Config:
    """Load the configuration that a Python file defines as ``config``.

    Args:
        path: The file; ``config`` is a `parsl.Config`, a function that returns one, or a function of
            a `ClusterSpec` that does.
        cluster: What to ask the scheduler for.

    Raises:
        SpecError: The file is missing, does not run, or defines no configuration.
    """
    if not path.is_file():
        raise SpecError(f"{path}: no such file; give a Python file that defines 'config'")
    spec = importlib.util.spec_from_file_location("parsl_config_file", path)
    if spec is None or spec.loader is None:
        raise SpecError(f"{path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = getattr(module, "config", None)
        if callable(config):
            takes_cluster = bool(inspect.signature(config).parameters)
            config = config(cluster or ClusterSpec()) if takes_cluster else config()
    except Exception as error:
        raise SpecError(f"{path}: does not run: {type(error).__name__}: {error}") from error
    from parsl import Config  # noqa: PLC0415

    if not isinstance(config, Config):
        raise SpecError(f"{path}: must define 'config', a parsl.Config or a function that returns one")
    return config
