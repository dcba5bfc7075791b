"""The working folder of a trial: it has the inputs that a program names; what is left in it is limited."""

from __future__ import annotations

import contextlib
import fnmatch
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from parsl_optuna.store.reads import noted

_COPIED_BYTES = 2**20
"""Inputs up to this size are copied, so that a trial which writes to one does not change it for the
others."""

_MOST_ENTRIES = 1000
"""A folder with more files is linked as a whole: to make so many links takes longer than most trials wait."""

_TEXT_BYTES = 2**20
"""Larger files are no programs that a person wrote."""

_NAMES = re.compile(r"[\w./+@-]+")
PROGRAMS = (".py", ".sh")
"""How programs of the user's end."""

_NO_DATA = (*PROGRAMS, ".yaml", ".yml", ".md", ".rst")
"""Programs are known otherwise; the others are often named in a comment, as the study's own file is."""

_MADE_UP = frozenset("{$%*?[")
"""What follows a name whose end is put together at run time, as in ``f"configs/{name}.yaml"``."""

_QUOTED = re.compile(r"\"([^\"\n]{1,255})\"|'([^'\n]{1,255})'")


def followed(sources: Iterable[Path], launch: Path) -> list[Path]:
    """Return programs with the Python modules beside them and the programs that they name, and so on.

    Args:
        sources: Texts of programs; what is too large or no text names nothing.
        launch: The folder in which the command was started; programs are named relative to it.
    """
    found: dict[Path, None] = {}
    todo = list(sources)
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found[path] = None
        for name in set(_words(path)):
            module = path.parent / f"{name.replace('.', os.sep)}.py"
            program = [launch / name] if name.endswith(PROGRAMS) else []
            todo += [one for one in (module, *program) if one not in found and _is(Path.is_file, one)]
    return list(found)


@noted(None)
def mentioned(sources: Iterable[Path], launch: Path) -> list[str]:
    """Return the files and folders that programs name, and that are there.

    Args:
        sources: Texts of programs; see `followed`.
        launch: The folder in which the command was started; names are relative to it.
    """
    try:
        present = {path.name for path in launch.iterdir()}
    except OSError:
        return []
    given = list(sources)
    files = followed(given, launch)
    found: dict[str, None] = {}
    if any(path.suffix != ".py" for path in given):
        # A script of the shell may start a program by a relative path: it gets its modules too.
        others = [path for path in files if path not in given and path.is_relative_to(launch)]
        found |= dict.fromkeys(path.relative_to(launch).as_posix() for path in others)
    for path in files:
        for name in set(_words(path)):
            if name.removeprefix("./").partition("/")[0] in present and not Path(name).is_absolute():
                found[name] = None
    return sorted(found)


def data_named(sources: Iterable[Path], launch: Path) -> list[Path]:
    """Return the files of data that programs name: they may be read by what is no Python.

    Args:
        sources: Texts of programs; see `followed`.
        launch: The folder in which the command was started; names are relative to it.
    """
    found = (launch / name for name in mentioned(sources, launch))
    return [path for path in found if path.suffix not in _NO_DATA and _is(Path.is_file, path)]


def _words(path: Path) -> Iterator[str]:
    try:
        if path.stat().st_size > _TEXT_BYTES:
            return
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    for match in _NAMES.finditer(text):
        name = match.group()
        yield name
        if "/" in name and text[match.end() : match.end() + 1] in _MADE_UP:
            yield name.rpartition("/")[0]
    for first, second in _QUOTED.findall(text):
        yield first or second


@noted(None)
def provide(names: Iterable[str], launch: Path, folder: Path) -> None:
    """Let a working folder have inputs of the folder where the command was started, by the same paths.

    Small files are copied and others linked. A folder is made anew with its files in it, so that what
    a trial writes there stays its own.

    Args:
        names: Paths relative to *launch*; what is not there, leads out of it, or holds *folder* is passed
            over.
        launch: The folder in which the command was started.
        folder: The working folder.
    """
    for name in names:
        path = Path(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or folder.is_relative_to(launch / path):
            continue
        source, target = launch / path, folder / path
        if _is(Path.is_file, source):
            _provide_file(source, target)
        elif _is(Path.is_dir, source):
            _provide_folder(source, target)


def _provide_folder(source: Path, target: Path) -> None:
    files = list(itertools.islice((one for one in source.rglob("*") if one.is_file()), _MOST_ENTRIES + 1))
    if len(files) > _MOST_ENTRIES and not target.exists():
        _link(source, target)
        return
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        _provide_file(file, target / file.relative_to(source))


def _provide_file(source: Path, target: Path) -> None:
    given = source.stat()
    if target.is_symlink() or (target.exists() and target.stat().st_mtime_ns >= given.st_mtime_ns):
        return  # of an earlier attempt; a copy that is older than the file was made before that was edited
    if given.st_size <= _COPIED_BYTES:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    else:
        _link(source, target)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(source)
    except OSError:  # a file system without links
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    try:
        return kind(path)
    except (OSError, ValueError):  # a text that is no path at all
        return False


def settle(folder: Path, launch: Path, keep: Sequence[str], most_mb: float | None) -> list[str]:
    """Remove from a working folder what is not to be kept; the folder itself when nothing is left.

    Args:
        folder: The working folder; need not be there.
        launch: The folder in which the command was started; inputs from there are removed if unchanged.
        keep: Patterns of paths relative to it, where ``*`` also stands for slashes.
        most_mb: How much is kept in MiB, smaller files first; None keeps all.

    Returns:
        Paths of files that were removed.
    """
    with contextlib.suppress(OSError):
        folder.rmdir()  # most trials leave nothing
    if not folder.is_dir():
        return []
    found = sorted(_files(folder), key=lambda entry: (entry[1], entry[0]))
    removed, left = [], float("inf") if most_mb is None else most_mb * 2**20
    for name, size in found:
        path = folder / name
        if _is_input(path, folder, launch):
            path.unlink(missing_ok=True)
        elif size <= left and any(fnmatch.fnmatchcase(name, pattern) for pattern in keep):
            left -= size
        else:
            path.unlink(missing_ok=True)
            removed.append(name)
    for parent, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # not empty
            Path(parent).rmdir()
    return sorted(removed)


def _is_input(path: Path, folder: Path, launch: Path) -> bool:
    """Whether `provide` made a path, and the trial left it as it was."""
    if path.is_symlink():
        target = path.readlink()
        return target.is_absolute() and not target.is_relative_to(folder)
    try:
        mine, theirs = path.stat(), (launch / path.relative_to(folder)).stat()
    except OSError:
        return False
    return (mine.st_size, mine.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def _files(folder: Path) -> list[tuple[str, int]]:
    found = []
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]  # noqa: PTH114, PTH118
        for name in names + links:
            path = Path(parent) / name
            with contextlib.suppress(OSError):
                found.append((path.relative_to(folder).as_posix(), path.lstat().st_size))
    return found
