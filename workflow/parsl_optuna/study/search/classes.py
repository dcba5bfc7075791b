"""Samplers and pruners of the user's: subclasses of Optuna's, by module, file or folder."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import optuna

from parsl_optuna.core.errors import SpecError, WorkflowError, nearest
from parsl_optuna.tasks import source, user_module

T = TypeVar("T")


def is_class(name: str) -> bool:
    """Whether the name of a sampler or pruner is that of a user's class."""
    return ":" in name


def load(name: str, base: type[T], where: str) -> type[T]:
    """Return a class by its name.

    Args:
        name: ``module:Class`` of a module in the current folder or installed, ``FILE.py:Class``, or
            ``FOLDER:Class`` of a package, as OptunaHub has them.
        base: What it must be a subclass of.
        where: Key, for messages.

    Raises:
        SpecError: It cannot be imported, or is something else.
    """
    module_name, _, attribute = name.rpartition(":")
    try:
        module = _module(module_name, where)
    except WorkflowError:
        raise
    except (Exception, SystemExit) as error:
        raise SpecError(f"{where}: '{module_name}' cannot be imported: {told(error)}") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise SpecError(f"{where}: '{module_name}' has no '{attribute}'; {nearest(attribute, vars(module))}")
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise SpecError(f"{where}: '{name}' is no subclass of Optuna's {base.__name__}")
    return found


def made(name: str, kind: type[T], params: Mapping[str, Any], given: Mapping[str, Any], where: str) -> T:
    """Return an instance of a user's class.

    Args:
        name: As in the configuration.
        kind: The class.
        params: Its parameters in the configuration.
        given: What it gets besides, as far as it takes it.
        where: Key, for messages.

    Raises:
        SpecError: A parameter that it does not have, or refuses.
    """
    try:
        signature = inspect.signature(kind).parameters
    except ValueError:  # of a class in C
        signature = {}
    is_open = not signature or any(one.kind is one.VAR_KEYWORD for one in signature.values())
    known = [one for one in signature if one not in given]
    for key in params:
        if key in given:
            raise SpecError(f"{where}.{key}: is set by the study; remove it")
        if key not in known and not is_open:
            raise SpecError(f"{where}.{key}: '{name}' has no such parameter; {nearest(key, known)}")
    taken = {key: value for key, value in given.items() if key in signature}
    with blamed(where, name), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return kind(**taken, **params)


@contextlib.contextmanager
def blamed(where: str, name: str) -> Iterator[None]:
    """Tell what a user's class raises in one line, with the line of its code.

    Raises:
        SpecError: It raised.
    """
    try:
        yield
    except WorkflowError:
        raise
    except Exception as error:
        raise SpecError(f"{where}: '{name}' raised {told(error)}") from error


def told(error: BaseException) -> str:
    """Return an exception in one line, with where it was raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    frames = traceback.extract_tb(error.__traceback__)
    is_known = bool(frames) and not frames[-1].filename.startswith("<")  # as of Python's own import
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if is_known else ""
    return f"{type(error).__name__}: {lines[0]}{place}" if lines else f"{type(error).__name__}{place}"


def _module(name: str, where: str) -> ModuleType:
    path = Path(name)
    if path.is_dir() and (path / "__init__.py").is_file():
        return _package(path.resolve())
    if path.suffix == ".py" or "/" in name:
        if source.find(name) is None:
            raise SpecError(f"{where}: no file or package '{name}' in {Path.cwd()}; give its path from there")
        return user_module.load(path.resolve(), source.checksum(path), Path.cwd())
    beside = Path(*name.split(".")).with_suffix(".py")
    if source.find(str(beside)) is not None:
        return user_module.load(beside.resolve(), source.checksum(beside), Path.cwd())
    return importlib.import_module(name)


def _package(folder: Path) -> ModuleType:
    """Import a package by its folder, under a name of its own, as its parents may be no packages."""
    name = f"package_{source.checksum(folder / '__init__.py')}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
