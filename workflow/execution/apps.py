"""The only importer of Parsl: loads a configuration on first use and submits plain functions."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow.errors import ExecutorError, SpecError

if TYPE_CHECKING:
    from parsl import Config

_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class ParslExecutor:
    """A Parsl data flow kernel that is started by the first submit.

    Args:
        make_config: Returns the configuration.
    """

    def __init__(self, make_config: Callable[[], Config]) -> None:
        self._make_config = make_config
        self._kernel: Any = None
        self._apps: dict[Callable[..., Any], Any] = {}

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run ``function(*args)`` on a worker; *function* must be importable there by name."""
        if self._kernel is None:
            self._start()
        if function not in self._apps:
            from parsl import python_app  # noqa: PLC0415

            # Wrapped here and not decorated there, the function travels by name.
            self._apps[function] = python_app(function, data_flow_kernel=self._kernel)
        return self._apps[function](*args)

    def close(self) -> None:
        """Stop the blocks and the kernel."""
        if self._kernel is not None:
            self._kernel.cleanup()
            self._kernel = None
            self._apps = {}

    def _start(self) -> None:
        # Half a second that a run with nothing to do should not pay.
        from parsl.dataflow.dflow import DataFlowKernel  # noqa: PLC0415

        # Parsl starts its own programs by name; they are beside this Python, activated or not.
        _prepend("PATH", str(Path(sys.executable).parent))
        _prepend("PYTHONPATH", str(Path.cwd()))  # workers find a user's task where the driver did
        config = self._make_config()
        try:
            self._kernel = DataFlowKernel(config)
        except Exception as error:
            raise ExecutorError(f"Parsl cannot start: {error}") from error


def _prepend(variable: str, folder: str) -> None:
    """Put *folder* first in a path variable that children inherit."""
    known = os.environ.get(variable)
    os.environ[variable] = folder + (os.pathsep + known if known else "")


def local_config(run_dir: Path, workers: int | None = None) -> Config:
    """Return a configuration with one single-threaded worker process per core of this machine."""
    from parsl import Config, HighThroughputExecutor  # noqa: PLC0415
    from parsl.providers import LocalProvider  # noqa: PLC0415

    threads = "; ".join(f"export {name}=1" for name in _ONE_THREAD)
    executor = HighThroughputExecutor(
        label="local",
        address="127.0.0.1",
        max_workers_per_node=workers or len(os.sched_getaffinity(0)),
        heartbeat_period=2,  # a dead worker is noticed, and replaced, after this time
        heartbeat_threshold=30,
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1, worker_init=threads),
    )
    return Config(
        executors=[executor],
        strategy="none",
        strategy_period=0.2,  # the first block is asked for one period after the start
        run_dir=str(run_dir),
        initialize_logging=False,
    )


def file_config(path: Path) -> Config:
    """Load the configuration that a Python file defines as ``config``, a `Config` or a function.

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
        config = config() if callable(config) else config
    except Exception as error:
        raise SpecError(f"{path}: does not run: {type(error).__name__}: {error}") from error
    from parsl import Config  # noqa: PLC0415

    if not isinstance(config, Config):
        raise SpecError(f"{path}: must define 'config', a parsl.Config or a function that returns one")
    return config
