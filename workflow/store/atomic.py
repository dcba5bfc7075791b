"""Files that are whole or not there: write to a temporary name, fsync, rename or link."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workflow.errors import CorruptArtifact, StoreError


def write_bytes(path: Path, content: bytes, *, replace: bool = True) -> bool:
    """Write a file in one step, creating its folder.

    Args:
        path: Where.
        content: What.
        replace: Whether an existing file is replaced. Without, the first writer wins, also
            among processes on several hosts.

    Returns:
        Whether this call's content is now the file's.

    Raises:
        StoreError: The folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            return _place(temporary, path, replace)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error.strerror}; check the folder and the disk"
        ) from error


def write_json(path: Path, data: Mapping[str, Any], *, replace: bool = True) -> bool:
    """Write strict JSON in one step; numbers that are not finite become null."""
    text = json.dumps(strict(data), indent=2, allow_nan=False, ensure_ascii=False)
    return write_bytes(path, (text + "\n").encode(), replace=replace)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None when there is no such file.

    Raises:
        CorruptArtifact: Not valid JSON, or not an object.
        StoreError: The file cannot be read.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        data = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CorruptArtifact(
            f"{path}: not valid JSON ({error}); restore it, or delete it to have it made again"
        ) from error
    if not isinstance(data, dict):
        raise CorruptArtifact(f"{path}: holds a {type(data).__name__} where an object belongs")
    return data


def _place(temporary: Path, path: Path, replace: bool) -> bool:
    if replace:
        temporary.replace(path)
    else:
        try:
            os.link(temporary, path)  # unlike rename, fails when the name is taken
        except FileExistsError:
            return False
    _sync_folder(path.parent)
    return True


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable."""
    handle = os.open(folder, os.O_RDONLY)
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
