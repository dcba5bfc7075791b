"""Loads the real ``wandb``, and has what is logged written to a file as well, so that it is heard at once."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve()


def _load_recorder() -> Any:
    """Load the stand-in under another name: it knows what a step is."""
    path = _HERE.parents[2] / "standin" / "wandb" / "__init__.py"
    spec = importlib.util.spec_from_file_location("parsl_optuna_recorder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load_real() -> Any:
    """Load the real one, which may be missing where the program runs."""
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _HERE.parents[1]]
    importlib.invalidate_caches()
    del sys.modules["wandb"]  # what is there when this module ends is what the program imported
    try:
        found = importlib.import_module("wandb")
    except ModuleNotFoundError:
        return None
    return found if hasattr(found, "init") else None  # a folder of that name is no package


def _listen(real: Any, recorder: Any) -> None:
    """Have the recorder hear every call that logs."""
    run = real.sdk.wandb_run.Run
    summary = real.sdk.wandb_summary.SummaryDict
    log, update = run.log, summary.update

    @functools.wraps(log)
    def heard_log(
        self: Any, data: Any, step: int | None = None, commit: bool | None = None, **options: Any
    ) -> None:
        log(self, data, step, commit, **options)
        recorder.log(data, step, commit)

    @functools.wraps(update)
    def heard_update(self: Any, values: Any) -> None:
        update(self, values)
        (recorder.run or recorder.init()).summary.update(values)

    run.log, summary.update = heard_log, heard_update


_recorder, _real = _load_recorder(), _load_real()
if _real is None:
    sys.modules["wandb"] = _recorder
else:
    _listen(_real, _recorder)
