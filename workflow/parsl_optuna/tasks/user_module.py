"""Imports a user's file as Python would: its neighbours are found, and hide nothing of Python's own."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_INSTALLED = ("site-packages", "dist-packages")
_versions: dict[str, str] = {}
"""Which version of a file was imported under its own name."""


def load(path: Path, digest: str, launch: Path) -> ModuleType:
    """Import a file by its path.

    Args:
        path: The file. In a folder with an ``__init__.py`` it is imported as a part of that package, so that
            relative imports work.
        digest: Its checksum, which keeps different versions apart.
        launch: The folder in which the command was started; modules are found there too.
    """
    root, name = _name_of(path)
    _add_to_path([root, path.parent, launch])
    if _is_found_as(name, path) and _versions.get(name, digest) == digest:
        _versions[name] = digest
        return importlib.import_module(name)
    return _loaded_by_path(path, root, name, f"user_{digest}")


def _name_of(path: Path) -> tuple[Path, str]:
    """Return the folder from which a file is imported, and its name there."""
    root, parts = path.parent, [path.stem]
    while (root / "__init__.py").is_file() and root.name.isidentifier():
        parts.insert(0, root.name)
        root = root.parent
    return root, ".".join(parts)


def _add_to_path(folders: list[Path]) -> None:
    """Put folders behind Python's own library, so that a ``random.py`` of the user's hides none of it.

    They stand before what is installed: a stray ``utils`` there does not hide the user's.
    """
    first = [i for i, entry in enumerate(sys.path) if any(part in Path(entry).parts for part in _INSTALLED)]
    at = min(first, default=len(sys.path))
    for folder in dict.fromkeys(map(str, folders)):
        if folder in sys.path[:at]:
            continue
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(at, folder)
        at += 1


def _is_found_as(name: str, path: Path) -> bool:
    """Whether importing *name* gives the file at *path*, and not another module of that name."""
    top = name.split(".", maxsplit=1)[0]
    known = sys.modules.get(top)
    if known is not None and not _is_of(known, path):
        return False
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin) == path


def _is_of(module: ModuleType, path: Path) -> bool:
    origin = getattr(module, "__file__", None)
    return origin is not None and (Path(origin) == path or Path(origin).parent in path.parents)


@functools.lru_cache(maxsize=8)
def _loaded_by_path(path: Path, root: Path, name: str, alias: str) -> ModuleType:
    """Import a file whose name is taken by another module; its package gets the name *alias*."""
    parts = name.split(".")
    top = path if len(parts) == 1 else root / parts[0] / "__init__.py"
    folders = None if len(parts) == 1 else [str(root / parts[0])]
    spec = importlib.util.spec_from_file_location(alias, top, submodule_search_locations=folders)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[alias] = module
    spec.loader.exec_module(module)
    return module if len(parts) == 1 else importlib.import_module(".".join([alias, *parts[1:]]))


def imported_by(path: Path) -> list[Path]:
    """Return the files beside a file, or below its package, that it imports, and those that they import.

    Read from the text: what is imported by a name that is made up at run time is not found.
    """
    root, _ = _name_of(path)
    found: dict[Path, None] = {}
    todo = [path]
    while todo:
        one = todo.pop()
        for other in _imports(one, [root, one.parent, path.parent]):
            if other not in found and other != path:
                found[other] = None
                todo.append(other)
    return sorted(found)


def _imports(path: Path, roots: list[Path]) -> list[Path]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []
    names: list[tuple[list[Path], str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(roots, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = [path.parents[node.level - 1]] if 0 < node.level <= len(path.parents) else roots
            base = node.module or ""
            names.append((start, base))
            names += [(start, f"{base}.{alias.name}".strip(".")) for alias in node.names]
    return [file for starts, name in names for start in starts for file in _files_of(start, name)]


def _files_of(start: Path, name: str) -> list[Path]:
    """Return the files that importing *name* from the folder *start* runs."""
    parts = [part for part in name.split(".") if part]
    folders = [start.joinpath(*parts[:i]) / "__init__.py" for i in range(1, len(parts) + 1)]
    module = start.joinpath(*parts).with_suffix(".py") if parts else start / "__init__.py"
    return [path for path in [*folders, module] if path.is_file()]
