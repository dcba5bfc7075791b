"""Stands in for ``wandb`` that is not installed, offline or without account: what is logged goes to a file.

Only what sweeps need is here; anything else can be called and does nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__version__ = "0.0.0+offline"


class _Nothing:
    """Can be called, entered, iterated and asked for anything, to no effect."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs

    def __call__(self, *args: Any, **kwargs: Any) -> _Nothing:
        del args, kwargs
        return self

    def __getattr__(self, name: str) -> _Nothing:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __iter__(self) -> Any:
        return iter(())


class Config(dict[str, Any]):
    """Parameters as items and as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add values; as with the real one, those of the sweep stay."""
        kwargs.pop("allow_val_change", None)
        super().update(*args, **kwargs)
        super().update(_swept())

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return dict(self)


class Summary(dict[str, Any]):
    """Last values; what is set here is logged too."""

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        _write({name: value})

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several values."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value


class Run(_Nothing):
    """One run; methods that are not here do nothing."""

    def __init__(self, config: Any = None, name: str | None = None) -> None:
        self.id = os.environ.get("WANDB_RUN_ID", "offline")
        self.name = name or self.id
        self.config = Config()
        self.config.update(config if isinstance(config, dict) else vars(config) if config else {})
        self.summary = Summary()
        self.step = 0
        self.dir = os.environ.get("WANDB_DIR", ".")
        self.url = self.project = self.entity = None
        self._held: dict[str, Any] = {}

    def log(
        self, data: dict[str, Any], step: int | None = None, commit: bool | None = None, **_: Any
    ) -> None:
        """Write the numbers and texts of *data* as one line, once a step is complete."""
        if step is not None and step != self.step and self._held:
            self._flush()
        self.step = self.step if step is None else step
        self._held |= data
        if commit or (commit is None and step is None):
            self._flush()
            self.step += 1

    def finish(self, *args: Any, **kwargs: Any) -> None:
        """Write what is held back."""
        del args, kwargs
        self._flush()

    def _flush(self) -> None:
        if self._held:
            dict.update(self.summary, self._held)
            _write({**self._held, "_step": self.step})
            self._held = {}

    def __exit__(self, *error: object) -> None:
        self.finish()


run: Run | None = None
config = Config()
summary = Summary()


def init(config: Any = None, name: str | None = None, **_: Any) -> Run:
    """Start the run."""
    global run, summary
    run = Run(config, name)
    globals()["config"], summary = run.config, run.summary
    return run


def log(data: dict[str, Any], step: int | None = None, commit: bool | None = None, **_: Any) -> None:
    """Log to the run, which is started if there is none."""
    (run or init()).log(data, step, commit)


def finish(*args: Any, **kwargs: Any) -> None:
    """End the run."""
    del args, kwargs
    if run is not None:
        run.finish()


def agent(sweep_id: str, function: Any = None, **_: Any) -> None:
    """Call *function* once: this process is one run of the sweep."""
    del sweep_id
    if function is not None:
        function()


def _swept() -> dict[str, Any]:
    path = os.environ.get("WANDB_SWEEP_PARAM_PATH")
    if not path or not Path(path).exists():
        return {}
    data = json.loads(Path(path).read_text(encoding="utf-8"))
    return {name: entry["value"] for name, entry in data.items() if name != "wandb_version"}


def _write(data: dict[str, Any]) -> None:
    path = os.environ.get("PARSL_OPTUNA_WANDB_LOG")
    plain = {name: _plain(value) for name, value in data.items()}
    plain = {name: value for name, value in plain.items() if isinstance(value, (bool, int, float, str))}
    if path:
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(plain) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str)):
        return value
    try:
        return value.item()
    except Exception:
        return None


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Nothing()


import atexit  # noqa: E402

atexit.register(finish)
