"""Files that are whole or not there: write under a temporary name, fsync, then give the file its own."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from parsl_optuna.core.errors import StoreError
from parsl_optuna.store.exclusive import place

_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP})


def write_bytes(
    path: Path, content: bytes, *, replace: bool = True, durable: bool = True, beside: Path | None = None
) -> bool:
    """Write a file in one step, creating its folder.

    Args:
        path: Where.
        content: What.
        replace: Whether an existing file is replaced. Without, the first writer wins, also
            among processes on several hosts.
        durable: Whether it must outlive a power failure from now on. Without, such a failure can
            leave the file empty or away.
        beside: Another file of this folder to fsync too.

    Returns:
        Whether this call's content is now the file's.

    Raises:
        StoreError: The folder cannot be written.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")  # short: names may be 255 bytes long
    with writing(path):
        try:
            with _opened(temporary) as stream:
                stream.write(content)
                if durable:
                    stream.flush()
                    os.fsync(stream.fileno())
            if replace:
                temporary.replace(path)
            elif not place(temporary, path):
                return False
            if beside is not None:
                _sync(beside)  # now, so that one pass through the disk's journal serves both names
            if durable:
                _sync_folder(path.parent)
            return True
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says about a write into one line.

    Raises:
        StoreError: The folder cannot be written, the disk is full or fails.
    """
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        what = _dead_link(path) or error.strerror or error
        raise StoreError(f"{path}: cannot be written: {what}; check the folder and the disk") from error


def _dead_link(path: Path) -> str | None:
    """Say which link on the way to a file leads nowhere; None without one. The system says that it exists."""
    dead = (one for one in (path, *path.parents) if one.is_symlink() and not one.exists())
    return next((f"{one} is a link to {one.readlink()}, which is not there" for one in dead), None)


DISK_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE})
"""What the disk did, not the code that was writing."""


def is_disk_fault(error: BaseException) -> bool:
    """Whether an exception says that the disk is full or fails."""
    return isinstance(error, OSError) and error.errno in DISK_FAULTS


_SAMPLE_BYTES = 2**20
"""More than an outcome takes: a disk that has room for this is not full."""


def check_disk(folder: Path) -> None:
    """Try whether the disk of a folder takes a file; limits of this process do not count.

    Raises:
        StoreError: It is full or fails.
    """
    path = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        with path.open("xb") as stream:
            stream.write(bytes(_SAMPLE_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        if is_disk_fault(error):
            with writing(path):
                raise
    finally:
        path.unlink(missing_ok=True)


def read_bytes(path: Path) -> bytes | None:
    """Read a file; None when there is no such file.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error


def _opened(path: Path) -> BinaryIO:
    """Open a new file for writing, in a new folder where there is none."""
    try:
        return path.open("xb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")


def _sync_folder(path: Path) -> None:
    """Make the names in a folder outlive a power failure, where the file system can do that."""
    try:
        _sync(path)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def _sync(path: Path) -> None:
    """Make a file outlive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def strict(value: Any) -> Any:
    """Return plain data with None for every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): strict(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(entry) for entry in value]
    return value
