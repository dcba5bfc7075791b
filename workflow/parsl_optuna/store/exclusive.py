"""Give a file its name unless the name is taken: one step with hard links, and as safe without them.

With links, ``link`` fails when the name is taken. Where a file system has none (exFAT, some network file
systems), a folder is claimed instead, since a folder that is not empty refuses to be replaced by ``rename``:

1. The content, written and synced, is moved into a new folder, under a name that nobody else uses.
2. ``rename`` gives that folder the claim's name. Of several writers one succeeds; its file fills the claim.
3. The file is moved out of the claim to its final name, unless that is taken; the claim is removed.

Why this is right: a file gets the final name only from within the claim. A writer that dies between 2 and 3
leaves its whole content there. The next one finds the claim taken, moves that very file, by its name, and so
finishes what the first one began: the first content counts. While a file is in it no other gets in. Once
moved, it is no longer there to be moved again, and whoever fills the claim after that finds the final name
taken. Every step is one ``rename``: a reader sees nothing, or all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

NO_LINKS = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})
"""How file systems say that they have no hard links; a folder that cannot be written fails again below."""
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST})
_TRIES = 10
"""A claim is free again after a few steps of its holder; one that stays taken is no claim of ours."""


def place(temporary: Path, path: Path) -> bool:
    """Give *temporary* the name *path* in the same folder, unless it is taken; return whether it has it now.

    Raises:
        OSError: The folder cannot be written.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        return _is_same(temporary, path)  # the server did it, and its answer was lost
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return place_without_links(temporary, path)
    return True


def place_without_links(temporary: Path, path: Path) -> bool:
    """Do what `place` does, on a file system without hard links."""
    if path.exists():
        return False
    draft, claim = temporary.with_name(f"{temporary.name}.claim"), claim_of(path)
    draft.mkdir()
    try:
        name = temporary.rename(draft / temporary.name).name
        for _ in range(_TRIES):
            try:
                draft.rename(claim)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
            else:
                return _publish(claim / name, path)
            _finish(path)
            if path.exists():
                return False
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    raise OSError(errno.EBUSY, f"{claim} cannot be taken")


def claim_of(path: Path) -> Path:
    """Return the folder in which a file waits for its name."""
    return path.with_name(f".{path.name}.claim")


def drop_claim(path: Path) -> None:
    """Remove what a dead writer left, so that it cannot come back once the file itself is set aside."""
    shutil.rmtree(claim_of(path), ignore_errors=True)


def _publish(mine: Path, path: Path) -> bool:
    """Move this writer's file out of its claim; return False where the final name was taken before."""
    try:
        if path.exists():
            mine.unlink()
            return False
        mine.rename(path)
    except FileNotFoundError:
        pass  # another writer has moved it
    finally:
        _drop_empty(path)
    return True


def _finish(path: Path) -> None:
    """Finish what the writer in the claim began, who may be dead."""
    with contextlib.suppress(FileNotFoundError):
        for held in claim_of(path).iterdir():  # its name is read before the final one is looked for
            if not path.exists():
                held.rename(path)
    _drop_empty(path)


def _drop_empty(path: Path) -> None:
    with contextlib.suppress(OSError):
        claim_of(path).rmdir()


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False
