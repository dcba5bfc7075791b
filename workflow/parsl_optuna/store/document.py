"""JSON files that say which form they have and that nobody changed them since.

The first key is ``schema``, the number of the form; the last line is ``digest``, the SHA-256 of all bytes
before that line. Files of form 1 carry neither, and are read as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parsl_optuna.core.errors import CorruptArtifact, NewerSchema
from parsl_optuna.core.records import SCHEMA
from parsl_optuna.store.atomic import read_bytes, strict, write_bytes

_SEAL = re.compile(rb',\n  "digest": "([0-9a-f]{64})"\n}\n\Z')
_SEAL_LENGTH = len(',\n  "digest": ""\n}\n') + 64
_ID = re.compile(r"[pr]_[0-9a-f]{12}")
OWN_KEYS = frozenset({"schema", "digest", "accepted"})
"""Keys that belong to the file and not to the record in it."""


def write(
    path: Path,
    data: Mapping[str, Any],
    *,
    replace: bool = True,
    durable: bool = True,
    beside: Path | None = None,
) -> bool:
    """Write *data* in one step, with its schema and digest; as `write_bytes` otherwise.

    Strict JSON, a line per key; numbers that are not finite become null.
    """
    return write_bytes(path, encoded(data), replace=replace, durable=durable, beside=beside)


def read(path: Path, *, durable: bool = True, cure: str = "") -> dict[str, Any] | None:
    """Read a document, verified; None when there is no such file. ``schema`` is always among the keys.

    Args:
        path: Where.
        durable: Whether it was written so. If not, a file that is empty, or zeros only, is what a power
            failure left, and counts as none.
        cure: What to do about a damaged file; by default, to delete it.

    Raises:
        CorruptArtifact: Changed since it was written, not valid JSON, or not an object.
        NewerSchema: Written by a newer version of the program.
        StoreError: The file cannot be read.
    """
    content = read_bytes(path)
    if content is None or not (durable or content.strip(b"\0")):
        return None
    return decoded(path, content, cure)


def encoded(data: Mapping[str, Any]) -> bytes:
    """Return the content of a document."""
    own = {name: value for name, value in data.items() if name not in {"schema", "digest"}}
    lines = [f"  {_dumps(str(key))}: {_dumps(strict(value))}" for key, value in own.items()]
    text = "{\n" + ",\n".join([f'  "schema": {SCHEMA}', *lines])
    body = text.encode("utf-8", "replace")  # half of a surrogate pair has no UTF-8 form
    return body + f',\n  "digest": "{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode()


def decoded(path: Path, content: bytes, cure: str = "") -> dict[str, Any]:
    """Return what the content of a document says, as `read` does."""
    cure = cure or "delete it to have it made again"
    seal = _SEAL.search(content[-_SEAL_LENGTH:])
    if seal is not None and hashlib.sha256(content[:-_SEAL_LENGTH]).hexdigest() != seal[1].decode():
        raise CorruptArtifact(_changed(path, cure))
    data = _parsed(path, content, cure)
    schema = data.setdefault("schema", 1)
    if type(schema) is not int or schema < 1 or (schema == SCHEMA and seal is None):
        raise CorruptArtifact(_changed(path, cure))
    if schema > SCHEMA:
        raise NewerSchema(
            f"{path}: has schema {schema}, this program reads up to {SCHEMA}; update parsl-optuna, "
            "or choose another folder"
        )
    if seal is not None:
        del data["digest"]
    return data


def unverified(path: Path, content: bytes) -> dict[str, Any]:
    """Return what the content of a document says although it was changed, for someone who says it is right.

    Raises:
        CorruptArtifact: Not valid JSON, or not an object.
    """
    data = _parsed(path, content, "restore it")
    data.pop("digest", None)
    return {**data, "schema": SCHEMA}


def _parsed(path: Path, content: bytes, cure: str) -> dict[str, Any]:
    try:
        data = json.loads(content)
        if b"\\u" in content:
            json.dumps(data, ensure_ascii=False).encode()  # half of a surrogate pair can never be written
    except (ValueError, RecursionError) as error:
        raise CorruptArtifact(f"{path}: not valid JSON ({error}); restore it, or {cure}") from error
    if not isinstance(data, dict):
        raise CorruptArtifact(f"{path}: holds a {type(data).__name__} where an object belongs; {cure}")
    return data


def _changed(path: Path, cure: str) -> str:
    owner = next((part for part in reversed(path.parts) if _ID.fullmatch(part)), None)
    accept = f", or keep it as it is: parsl-optuna accept {owner}" if owner else ""
    return f"{path}: was changed after it was written (its digest differs); restore it, {cure}{accept}"


_dumps = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode
"""With an indent Python's encoder is ten times slower."""
