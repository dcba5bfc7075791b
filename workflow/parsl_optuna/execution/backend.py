"""What the driver needs of a backend: submit a function, get a future, close."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol


class Executor(Protocol):
    """Runs functions somewhere. Starts nothing before the first submit.

    Attributes:
        isolates: Whether trials should run in child processes that can be killed.
    """

    isolates: bool

    def submit(self, function: Callable[..., Any], *args: Any, urgency: float = 0.0) -> Future[Any]:
        """Run ``function(*args)``; the future resolves when it ends, or cannot end any more.

        Of what waits for a worker, the most urgent goes first where the backend can tell.

        The future's exception is `WorkerLost` where another try may help, `ExecutorError` where the
        backend is gone for good, else what the function raised.

        Raises:
            ExecutorError: The backend cannot be started.
        """
        ...

    def check(self) -> None:
        """Look after the backend; called about twice a second.

        Raises:
            ExecutorError: It is gone for good.
        """

    def close(self) -> None:
        """Stop the workers; what still runs is abandoned."""
        ...
