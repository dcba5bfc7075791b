"""What the driver needs of a backend: submit a function, get a future, close."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol


class Executor(Protocol):
    """Runs functions somewhere. Starts nothing before the first submit."""

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run ``function(*args)``; the future resolves when it ends, or cannot end any more.

        Raises:
            ExecutorError: The backend cannot be started.
        """
        ...

    def close(self) -> None:
        """Stop the workers; what still runs is abandoned."""
        ...
