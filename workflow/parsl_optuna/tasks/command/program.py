"""A running program: what it prints, its end, and the end of everything that it started."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from parsl_optuna.core.errors import TaskError
from parsl_optuna.core.processes import die_with_parent
from parsl_optuna.tasks.command.ears import Ears, Lines

_LOOK_SEC = 0.25
_POLL_SEC = 0.02
"""How often to see whether the program has ended, where the kernel cannot say."""

_END_SEC = 2.0
"""From SIGTERM to SIGKILL."""

_KEPT = 8192


class Program:
    """Starts a program in a session of its own.

    Args:
        words: The program and its arguments, or a text for the shell.
        environment: Its environment.
        shell: Whether the first of *words* is for ``/bin/sh``.

    Raises:
        TaskError: It cannot be started.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], *, shell: bool) -> None:
        try:
            self._process = subprocess.Popen(
                words[0] if shell else list(words),
                shell=shell,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=_end_with(os.getpid()),
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise TaskError(f"'{words[0]}' cannot be started: {why}") from error

    def listen(self, ears: Ears, echo: Callable[[int, bytes], None]) -> tuple[int, bytes]:
        """Listen until the program ends, whoever else still holds its output.

        Args:
            ears: Takes its lines.
            echo: ``(1 or 2, bytes)`` keeps what it prints.

        Returns:
            Its exit code, negative for a signal, and the end of what it printed.
        """
        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout is not None
        assert stderr is not None
        lines, kept = Lines(), _Kept()
        looked_at = time.monotonic()

        def take(descriptor: int) -> bool:
            chunk = _read(descriptor)
            if chunk:
                kept.add(chunk)
                echo(1 if descriptor == stdout.fileno() else 2, chunk)
                if descriptor == stdout.fileno():
                    for text in lines.add(chunk):
                        ears.line(text)
            return bool(chunk)

        with self._ended(), selectors.DefaultSelector() as selector, _end_of(self._process.pid) as end:
            for stream in (stdout, stderr):
                os.set_blocking(stream.fileno(), False)
                selector.register(stream.fileno(), selectors.EVENT_READ)
            if end is not None:
                selector.register(end, selectors.EVENT_READ)
            while self._process.poll() is None:
                for key, _ in selector.select(_LOOK_SEC if end is not None else _POLL_SEC):
                    if key.fd != end and not take(key.fd):
                        selector.unregister(key.fd)
                if time.monotonic() - looked_at >= _LOOK_SEC:
                    ears.look()
                    looked_at = time.monotonic()
            for descriptor in (stdout.fileno(), stderr.fileno()):
                while take(descriptor):
                    pass
        ears.line(lines.rest())
        ears.end()
        return self._process.returncode, kept.content

    @contextlib.contextmanager
    def _ended(self):
        """End the program and its session on the way out."""
        try:
            yield
        finally:
            if self._process.poll() is None:
                self._signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_END_SEC)
            self._signal(signal.SIGKILL)
            self._process.wait()
            for stream in (self._process.stdout, self._process.stderr):
                assert stream is not None
                stream.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _end_with(parent: int) -> Callable[[], None]:
    """Return what has a new process end with this one, called in it before the program starts."""
    return lambda: die_with_parent(signal.SIGKILL, parent)


class _Kept:
    """The end of what was added."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        while self._size - len(self._chunks[0]) >= _KEPT:
            self._size -= len(self._chunks.popleft())

    @property
    def content(self) -> bytes:
        return b"".join(self._chunks)[-_KEPT:]


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return b""


@contextlib.contextmanager
def _end_of(pid: int):
    """Give a descriptor that becomes readable when a process ends; None where there is no such thing."""
    try:
        descriptor = os.pidfd_open(pid)  # Linux 5.3 and later
    except (AttributeError, OSError):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
