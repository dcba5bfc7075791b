"""What crosses between a worker, the process that forks trials, and a trial's process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

_HIGH = 200
"""Descriptors that programs close or write to by number are lower ones."""

ENGINE_FAULT = 70
"""Exit code of a process whose engine failed; EX_SOFTWARE of sysexits.h."""

MARK = "PARSL_OPTUNA_TRIALS"
"""Environment variable by which processes are known that descend from a process that forks trials."""


def send_request(control: socket.socket, request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Send a request and open descriptors; a request is its length in four bytes, then JSON."""
    content = json.dumps(dict(request)).encode()
    socket.send_fds(control, [struct.pack("!I", len(content))], list(descriptors))
    control.sendall(content)


def receive_request(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return a request and its descriptors; None when the other side has gone."""
    header, descriptors, _, _ = socket.recv_fds(control, 4, 8)
    if not header:
        return None
    header += _exactly(control, 4 - len(header))
    content = _exactly(control, struct.unpack("!I", header)[0]) if len(header) == 4 else b""
    return (json.loads(content), descriptors) if content else None


def _exactly(control: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        chunk = control.recv(count - len(content))
        if not chunk:
            return b""
        content += chunk
    return content


class Voice:
    """Sends messages to the supervisor, a line of JSON each, through a pipe that a task may have spoiled.

    Args:
        descriptor: The pipe's.
        token: What the supervisor knows this process by.
    """

    def __init__(self, descriptor: int, token: str) -> None:
        try:
            self._pipe = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH)
            os.close(descriptor)
        except OSError:  # fewer descriptors are allowed
            self._pipe = descriptor
        self._token, self._identity = token, _identity(self._pipe)

    def say(self, **message: Any) -> None:
        """Send a message.

        Raises:
            OSError: The pipe is closed, or is another file by now.
        """
        if _identity(self._pipe) != self._identity:
            raise BrokenPipeError("the pipe to the supervisor was closed by the task")
        # A task may have written to the pipe, without ending its line.
        content = memoryview(b"\n" + json.dumps({"token": self._token} | message).encode() + b"\n")
        while content:
            content = content[os.write(self._pipe, content) :]

    def try_to_say(self, **message: Any) -> None:
        """Send a message whose loss does no harm."""
        with contextlib.suppress(OSError):
            self.say(**message)


def _identity(descriptor: int) -> tuple[int, int]:
    about = os.fstat(descriptor)
    return about.st_dev, about.st_ino


class Listener:
    """Takes messages in pieces; what does not carry the token is not a message.

    Args:
        token: Of the trial's process.

    Attributes:
        n_strays: How many lines were no messages of this process.
    """

    def __init__(self, token: str) -> None:
        self._token, self._torn = token, b""
        self.n_strays = 0

    def heard(self, chunk: bytes) -> list[dict[str, Any]]:
        """Return the messages that are complete with *chunk*."""
        *lines, self._torn = (self._torn + chunk).split(b"\n")
        found = []
        for line in lines:
            if not line:
                continue
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                message = None
            if isinstance(message, dict) and message.pop("token", None) == self._token:
                found.append(message)
            else:
                self.n_strays += 1
        return found
