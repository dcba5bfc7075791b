"""Stands in for ``wandb`` where it is not installed: what is logged goes to a file.

Names of the real package that have no effect on metrics are classes that do nothing; names that it does not
have are errors here too; what needs W&B's server says so.
"""

from __future__ import annotations

import atexit as _atexit
import difflib as _difflib
import sys as _sys
from typing import Any

from wandb import _modules
from wandb._config import Config as Config
from wandb._errors import AuthenticationError as AuthenticationError
from wandb._errors import CommError as CommError
from wandb._errors import Error as Error
from wandb._errors import UsageError as UsageError
from wandb._errors import needs_server as _needs_server
from wandb._run import Run as Run
from wandb._stubs import Artifact as Artifact
from wandb._stubs import Media as _Media
from wandb._stubs import Settings as Settings
from wandb._stubs import Table as Table

__version__ = "0.31.0+standin"


class Image(_Media):
    """A picture."""


class Video(_Media):
    """A video."""


class Audio(_Media):
    """A sound."""


class Histogram(_Media):
    """A histogram."""


class Html(_Media):
    """A page."""


class Plotly(_Media):
    """A plot."""


class Object3D(_Media):
    """A cloud of points."""


class Molecule(_Media):
    """A molecule."""


class Graph(_Media):
    """A graph."""


class EvalTable(Table):
    """A table of an evaluation."""


class AlertLevel:
    """How urgent an alert is."""

    INFO, WARN, ERROR = "INFO", "WARN", "ERROR"


class Api:
    """W&B's server, which is not there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise _needs_server(f"wandb.Api().{name}")


class _BeforeInit:
    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        raise Error(f"You must call wandb.init() before {self._name}.{key}")

    def __setattr__(self, key: str, value: Any) -> None:
        raise Error(f"You must call wandb.init() before {self._name}.{key}")

    def __getitem__(self, key: str) -> Any:
        raise Error(f'You must call wandb.init() before {self._name}["{key}"]')

    __setitem__ = __setattr__


run: Run | None = None
config: Any = _BeforeInit("wandb.config")
summary: Any = _BeforeInit("wandb.summary")


def init(*args: Any, config: Any = None, **options: Any) -> Run:
    """Start a run, or go on with the one there is."""
    global run, summary
    if len(args) == 1:
        options["entity"] = args[0]
    if run is not None:
        if options.get("reinit") in (None, False, "return_previous", "default"):
            return run
        run.finish()
    started = Run(_forget, config, **options)
    run, summary = started, started.summary
    globals()["config"] = started.config
    return started


def _forget(finished: Run) -> None:
    """Be as before `init`, once the current run has finished."""
    global run, config, summary
    if run is finished:
        run, config, summary = None, _BeforeInit("wandb.config"), _BeforeInit("wandb.summary")


def _current(what: str) -> Run:
    if run is None:
        raise Error(f"You must call wandb.init() before wandb.{what}()")
    return run


def log(data: dict[str, Any], step: int | None = None, commit: bool | None = None, **options: Any) -> None:
    """Log to the run."""
    _current("log").log(data, step, commit, **options)


def define_metric(name: str, **options: Any) -> Any:
    """Say what of a metric's history is its result."""
    return _current("define_metric").define_metric(name, **options)


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """End the run."""
    if run is not None:
        run.finish(exit_code, quiet)


join = finish


def log_artifact(*args: Any, **options: Any) -> Any:
    """Return the artifact; it goes nowhere."""
    return _current("log_artifact").log_artifact(*args, **options)


def use_artifact(*args: Any, **options: Any) -> Any:
    """Raise: what is used must come from somewhere."""
    return _current("use_artifact").use_artifact(*args, **options)


use_model = use_artifact


def restore(*args: Any, **options: Any) -> Any:
    """Raise."""
    raise _needs_server("wandb.restore")


def login(*args: Any, **options: Any) -> bool:
    """Accept any account."""
    return True


def sweep(config: Any = None, *args: Any, **options: Any) -> str:
    """Return a name for `agent`: the sweep is the one that this process is a run of."""
    return "standin"


def agent(sweep_id: str, function: Any = None, *args: Any, **options: Any) -> None:
    """Call *function* once: this process is one run of the sweep."""
    if function is not None:
        function()


def termlog(text: str = "", *args: Any, **options: Any) -> None:
    """Print a text."""
    _sys.stderr.write(f"wandb: {text}\n")


termwarn = termerror = termlog


def _nothing(*args: Any, **options: Any) -> Any:
    """Do nothing."""


save = watch = unwatch = alert = setup = teardown = attach = require = mark_preempting = termsetup = _nothing
log_code = log_model = link_model = link_artifact = plot_table = ensure_configured = helper = _nothing
_MORE = ("ArtifactTTL", "Box3DDataFrameGroup", "Bokeh", "Classes", "JoinedTable", "PartitionedTable",
         "StringBackfill", "box3d", "controller", "data_types", "env", "errors", "integration", "keras",
         "lightgbm", "plot", "plots", "sdk", "sklearn", "util", "wandb_run", "wandb_sdk", "xgboost", "apis",
         "fastai", "gym", "tensorboard", "tensorflow", "catboost", "jupyter", "docker", "wandb_lib", "viz",
         "beta", "proto", "sync", "wandb_torch", "sacred", "cli", "agents", "old", "filesync")  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MORE:
        return _modules.attribute("wandb", name)
    if name.startswith("__"):
        raise AttributeError(name)
    known = [*_MORE, *(one for one in globals() if not one.startswith("_"))]
    close = _difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise AttributeError(f"module 'wandb' has no attribute '{name}'{hint}")


_modules.install()
_atexit.register(finish)
