"""The configuration of a run."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wandb._errors import ConfigError, UsageError


class Config(dict[str, Any]):
    """Parameters as items and as attributes; those of the sweep never change."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "_locked", swept())
        super().update(self._locked)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self)!r} object has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        self._put({name: value}, may_change=False)

    def update(self, d: Any = None, allow_val_change: bool | None = None, **more: Any) -> None:  # type: ignore[override]
        """Add values, of a mapping, of parsed arguments or of a file."""
        self._put({**as_mapping(d), **more}, may_change=bool(allow_val_change))

    def setdefaults(self, d: Any) -> None:
        """Add values that are not there yet."""
        super().update({name: value for name, value in as_mapping(d).items() if name not in self})

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return dict(self)

    def _put(self, values: Mapping[str, Any], *, may_change: bool) -> None:
        for name, value in values.items():
            if name in self._locked:
                continue
            if name in self and self[name] != value and not may_change:
                raise ConfigError(
                    f'Attempted to change value of key "{name}" from {self[name]} to {value}\n'
                    "If you really want to do this, pass allow_val_change=True to config.update()"
                )
            super().__setitem__(name, value)


def as_mapping(given: Any) -> dict[str, Any]:
    """Return a configuration in any form in which programs give one."""
    if given is None:
        return {}
    if isinstance(given, (str, os.PathLike)):
        return _of_file(Path(given))
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items()}
    if hasattr(given, "flag_values_dict"):  # absl
        return dict(given.flag_values_dict())
    if hasattr(given, "keys"):
        return {str(name): given[name] for name in given.keys()}  # noqa: SIM118  no mapping by its type
    try:
        return dict(vars(given))
    except TypeError:
        raise UsageError(f"config must be a dictionary, parsed arguments or a file, got {given!r}") from None


def _of_file(path: Path) -> dict[str, Any]:
    try:
        data = importlib.import_module("yaml").safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config file {path} cannot be read: {error.strerror}") from error
    data.pop("wandb_version", None)
    return {name: value["value"] for name, value in data.items()}


def swept() -> dict[str, Any]:
    """Return the parameters that the sweep gives."""
    path = Path(os.environ.get("WANDB_SWEEP_PARAM_PATH") or "none").with_suffix(".json")
    if not path.exists():
        return {}
    data = json.loads(path.read_text(encoding="utf-8"))
    return {name: entry["value"] for name, entry in data.items() if name != "wandb_version"}
