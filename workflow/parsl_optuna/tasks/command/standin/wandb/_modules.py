"""The modules below ``wandb`` that programs import: made when they are asked for."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import random
import re
import string
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from wandb._stubs import stub_class

_TOP = ("agents", "apis", "beta", "catboost", "cli", "data_types", "docker", "env", "errors", "fastai",
        "filesync", "gym", "integration", "jupyter", "keras", "lightgbm", "old", "plot", "plots", "proto",
        "sacred", "sb3", "sdk", "sklearn", "sync", "tensorboard", "tensorflow", "util", "viz", "wandb_lib",
        "wandb_run", "wandb_sdk", "wandb_torch", "xgboost")  # fmt: skip
_OF_MODULES = ("wandb.sdk", "wandb.integration", "wandb.apis", "wandb.wandb_sdk", "wandb.proto")
_SHARED = ("AlertLevel", "Api", "Artifact", "Audio", "AuthenticationError", "CommError", "Config", "Error",
           "Graph", "Histogram", "Html", "Image", "Molecule", "Object3D", "Plotly", "Run", "Settings",
           "Table", "UsageError", "Video", "finish", "init", "log", "login", "termerror", "termlog",
           "termwarn")  # fmt: skip


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds any module below those of the real package."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for a name below those modules."""
        parts = name.split(".")
        if parts[0] != "wandb" or len(parts) < 2 or parts[1] not in _TOP:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return a module that makes its names."""
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: names are made when they are asked for."""


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return attribute(self.__name__, name)


def attribute(module: str, name: str) -> Any:
    """Return what *name* is in a module: the stand-in's own, a module, or a class that does nothing."""
    top = sys.modules["wandb"]
    if name in _SHARED and module != "wandb":
        return getattr(top, name)
    if name == "ConfigError":
        from wandb._errors import ConfigError  # noqa: PLC0415

        return ConfigError
    if module == "wandb.util" and name in _UTIL:
        return _UTIL[name]
    full = f"{module}.{name}"
    is_module = name in _TOP if module == "wandb" else module in _OF_MODULES and name.islower()
    if is_module:
        return importlib.import_module(full)
    return stub_class(module, name)


def _generate_id(length: int = 8) -> str:
    return "".join(random.SystemRandom().choices(string.ascii_lowercase + string.digits, k=length))


def _name_safe(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_\-.]", "_", name)


_UTIL: dict[str, Any] = {"generate_id": _generate_id, "make_artifact_name_safe": _name_safe}


def install() -> None:
    """Have the import system ask here last, once."""
    if not any(type(finder).__name__ == "_Finder" for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
