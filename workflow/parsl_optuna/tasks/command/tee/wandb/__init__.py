"""Loads the real ``wandb``, and has what is logged written to a file as well, so that it is heard at once.

Where there is none, the stand-in takes this module's place.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.util
import netrc
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

_HERE = Path(__file__).resolve()
_STANDIN = _HERE.parents[2] / "standin"


def _load_recorder() -> Any:
    """Load the stand-in's recorder under another name: it knows what a step is."""
    path = _STANDIN / "wandb" / "_record.py"
    spec = importlib.util.spec_from_file_location("parsl_optuna_recorder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load_other() -> tuple[ModuleType, bool]:
    """Load the real one, or the stand-in where the program runs without; and say whether it is real."""
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _HERE.parents[1]]
    importlib.invalidate_caches()
    del sys.modules["wandb"]  # what is there when this module ends is what the program imported
    _be_offline_without_account()
    try:
        found = importlib.import_module("wandb")
    except ModuleNotFoundError as error:
        if error.name != "wandb":
            raise
        found = None
    if found is not None and hasattr(found, "init"):
        return found, True
    sys.modules.pop("wandb", None)  # a folder of that name is no package
    sys.path.insert(0, str(_STANDIN))
    importlib.invalidate_caches()
    return importlib.import_module("wandb"), False


def _keep_sweep_from_server(real: Any) -> None:
    """Let programs see that they are run by a sweep, but not W&B's server, which knows none of that name."""
    sweep_id = os.environ.get("WANDB_SWEEP_ID")
    settings = getattr(real, "Settings", None)
    update = getattr(settings, "update_from_env_vars", None)
    if settings is None or update is None:  # of a version that reads the environment in another place
        os.environ.pop("WANDB_SWEEP_ID", None)
    else:

        @functools.wraps(update)
        def updated(self: Any, environ: dict[str, Any]) -> None:
            update(self, {name: value for name, value in environ.items() if name != "WANDB_SWEEP_ID"})

        settings.update_from_env_vars = updated
    real.sdk.wandb_run.Run.sweep_id = property(lambda _: sweep_id)


def _be_offline_without_account() -> None:
    """Keep runs in the folder ``wandb``, for ``wandb sync``, where there is no account to send them to."""
    if not os.environ.get("WANDB_MODE") and not _has_account():
        os.environ["WANDB_MODE"] = "offline"


def _has_account() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class _Ears:
    """One recorder per run of the real wandb."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self._of_run: dict[int, Any] = {}
        self._runs: list[Any] = []
        """Keeps the runs alive, so that no id is given twice."""
        self.current = make()

    def of(self, run: Any) -> Any:
        """Return the recorder of a run."""
        if id(run) not in self._of_run:
            self._runs.append(run)
            self._of_run[id(run)] = self._make()
        self.current = self._of_run[id(run)]
        return self.current

    def finish(self) -> None:
        """Write what is held back, of all runs."""
        for recorder in self._of_run.values():
            recorder.finish()


def _listen(real: Any, ears: _Ears) -> None:
    """Have the recorders hear every call that logs."""
    run = real.sdk.wandb_run.Run
    summary = real.sdk.wandb_summary.SummaryDict
    log, define, finish, update = run.log, run.define_metric, run.finish, summary.update

    @functools.wraps(log)
    def heard_log(
        self: Any, data: Any, step: int | None = None, commit: bool | None = None, **options: Any
    ) -> None:
        log(self, data, step, commit, **options)
        ears.of(self).log(data, step, commit)

    @functools.wraps(define)
    def heard_define(self: Any, name: str, *args: Any, **options: Any) -> Any:
        found = define(self, name, *args, **options)
        _define(ears.of(self), name, options)
        return found

    @functools.wraps(finish)
    def heard_finish(self: Any, *args: Any, **options: Any) -> None:
        ears.of(self).finish()
        finish(self, *args, **options)

    @functools.wraps(update)
    def heard_update(self: Any, values: Any) -> None:
        update(self, values)
        ears.current.set_summary(_nested(self, values))

    _listen_to_new(real, ears)
    run.log, run.define_metric, run.finish, summary.update = (
        heard_log,
        heard_define,
        heard_finish,
        heard_update,
    )


def _define(recorder: Any, name: str, options: Any) -> None:
    """Have a recorder hear of a metric's definition; its other options change no result."""
    recorder.define(name, *(options.get(key) for key in ("summary", "goal", "overwrite")))


def _nested(summary: Any, values: Any) -> Any:
    """Return values with the mappings around them, for a part of a summary that is inside of another."""
    while (outer := vars(summary).get("_parent")) is not None:
        summary, values = outer, {vars(summary)["_parent_key"]: values}
    return values


def _listen_to_new(real: Any, ears: _Ears) -> None:
    """Hear disabled runs too; and have a program run without an account that asks to be online."""
    init = real.init

    @functools.wraps(init)
    def heard_init(*args: Any, **options: Any) -> Any:
        if options.get("mode") == "online" and not _has_account():
            options["mode"] = "offline"
        made = init(*args, **options)
        if getattr(made, "disabled", False):
            _listen_to_disabled(real, made, ears.of(made))
        return made

    real.init = heard_init


def _listen_to_disabled(real: Any, run: Any, recorder: Any) -> None:
    """Replace what does nothing in a disabled run, and in wandb until the next one begins."""
    recorder.is_disabled, silent = True, run.finish

    class Summary(type(run.summary)):
        def __setitem__(self, name: str, value: Any) -> None:
            super().__setitem__(name, value)
            recorder.set_summary({name: value})

        __setattr__ = __setitem__

        def update(self, *args: Any, **more: Any) -> None:
            super().update(*args, **more)
            recorder.set_summary(dict(*args, **more))

    def log(data: Any, step: int | None = None, commit: bool | None = None, **_: Any) -> None:
        recorder.log(data, step, commit)

    def define_metric(name: str, *args: Any, **options: Any) -> Any:
        _define(recorder, name, options)
        return type(run).define_metric(run, name, *args, **options)

    def finish(*args: Any, **more: Any) -> None:
        recorder.finish()
        silent(*args, **more)

    heard = {"log": log, "define_metric": define_metric, "summary": Summary()}
    for name, one in {**heard, "finish": finish}.items():
        object.__setattr__(run, name, one)
    for name, one in heard.items():
        setattr(real, name, one)


def _is_the_sweep(real: Any) -> None:
    """Have ``agent`` call its function once: this process is one run of the sweep."""

    def sweep(*args: Any, **options: Any) -> str:
        return "parsl-optuna"

    def agent(sweep_id: str, function: Any = None, *args: Any, **options: Any) -> None:
        if function is not None:
            function()

    real.sweep, real.agent = sweep, agent


_other, _is_real = _load_other()
if _is_real:
    _ears = _Ears(_load_recorder().Recorder)
    _listen(_other, _ears)
    _is_the_sweep(_other)
    _keep_sweep_from_server(_other)
    atexit.register(_ears.finish)
