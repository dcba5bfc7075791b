"""The backend without workers: runs at once, in this process. For debugging and ``trial``."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from parsl_optuna.execution.backend import BackendStatus


class InlineExecutor:
    """Runs every function during its submission."""

    isolates = False

    def submit(self, function: Callable[..., Any], *args: Any, urgency: float = 0.0) -> Future[Any]:
        """Run ``function(*args)`` now and return its resolved future."""
        del urgency
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:  # the future carries it, as for any backend
            future.set_exception(error)
        return future

    def check(self) -> None:
        """Do nothing."""

    def status(self) -> BackendStatus | None:
        """Return None: nothing is ever queued."""
        return None

    def replace(self, future: Future[Any]) -> None:
        """Do nothing: a submission ends before it returns."""

    def drain(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
