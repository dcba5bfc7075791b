"""Try on a folder what the store needs of a file system, before anything runs."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from parsl_optuna.core.errors import StoreError
from parsl_optuna.store.atomic import write_bytes, writing


def probe(root: Path, cure: str) -> None:
    """Write, replace and give names exclusively in a new folder below *root*, which is made if need be.

    The store needs no locks: who is first is decided by a name that can be given once.

    Args:
        root: The folder.
        cure: What to do where it cannot serve, for the message.

    Raises:
        StoreError: It cannot be made or written, or the file system lets two writers have the same name.
    """
    try:
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".probe-", dir=root))
    except StoreError as error:
        raise StoreError(str(error).replace("check the folder and the disk", cure)) from error
    try:
        write_bytes(folder / "file", b"1")
        write_bytes(folder / "file", b"2")
        with writing(folder):
            is_exclusive = _has_links(folder) or _keeps_folders(folder)
        if not is_exclusive:
            raise StoreError(
                f"{root}: two workers could overwrite each other's results here: the file system has neither "
                f"hard links nor folders that refuse to be replaced; {cure}"
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _has_links(folder: Path) -> bool:
    """Whether a name can be given by a hard link, and only once."""
    first, second, name = (folder / one for one in ("first", "second", "name"))
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    try:
        os.link(first, name)
    except OSError:
        return False
    try:
        os.link(second, name)
    except FileExistsError:
        return name.read_bytes() == b"1"
    return False


def _keeps_folders(folder: Path) -> bool:
    """Whether a folder with a file in it refuses to be replaced by another one."""
    drafts = [folder / "a", folder / "b"]
    for draft in drafts:
        draft.mkdir()
        (draft / "file").write_bytes(draft.name.encode())
    claim = drafts[0].rename(folder / "claim")
    try:
        drafts[1].rename(claim)
    except OSError:
        return (claim / "file").read_bytes() == b"a"
    return False
