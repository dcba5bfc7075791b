"""One run, and its summary."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from wandb._config import Config, as_mapping
from wandb._errors import UsageError, needs_server
from wandb._record import Recorder
from wandb._stubs import Artifact, Stub


class Summary(dict[str, Any]):
    """Last values; what is set here is the metric's result."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        object.__setattr__(self, "_recorder", recorder)

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self._recorder.set_summary({name: value})

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def update(self, d: Any = None, **more: Any) -> None:  # type: ignore[override]
        """Set several values."""
        values = {**(d or {}), **more}
        super().update(values)
        self._recorder.set_summary(values)


class Run:
    """One run.

    Args:
        on_finish: Called with the run when it has finished.
        config: Parameters; those of the sweep come before them.
        options: What else `wandb.init` was given.
    """

    def __init__(self, on_finish: Callable[[Run], None], config: Any = None, **options: Any) -> None:
        self._on_finish = on_finish
        self._recorder = Recorder()
        self.id = options.get("id") or os.environ.get("WANDB_RUN_ID", "standin")
        self.name = options.get("name") or os.environ.get("WANDB_NAME") or self.id
        self.project = options.get("project") or os.environ.get("WANDB_PROJECT") or "uncategorized"
        self.entity = options.get("entity") or os.environ.get("WANDB_ENTITY") or ""
        self.group, self.job_type = options.get("group") or "", options.get("job_type") or ""
        self.tags, self.notes = tuple(options.get("tags") or ()), options.get("notes")
        self.dir = (
            options.get("dir") or os.environ.get("PARSL_OPTUNA_SCRATCH") or os.environ.get("WANDB_DIR", ".")
        )
        self.settings = options.get("settings") or Stub()
        self.sweep_id: str | None = os.environ.get("WANDB_SWEEP_ID")
        self.resumed, self.offline, self.disabled = False, True, _is_disabled(options)
        self._recorder.is_disabled = self.disabled
        self.start_time, self.starting_step = time.time(), 0
        self.url = self.sweep_url = self.project_url = None
        self.config, self.summary = Config(), Summary(self._recorder)
        given = as_mapping(config)
        keep, drop = options.get("config_include_keys"), options.get("config_exclude_keys")
        if keep is not None:
            given = {name: value for name, value in given.items() if name in keep}
        self.config.setdefaults({name: value for name, value in given.items() if name not in (drop or ())})
        self._is_finished = False

    @property
    def step(self) -> int:
        """The current step."""
        return self._recorder.step

    @property
    def path(self) -> str:
        """Where it would be at W&B."""
        return f"{self.entity}/{self.project}/{self.id}"

    def log(
        self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, **_: Any
    ) -> None:
        """Write the numbers and texts of *data* as one line, once a step is complete."""
        if self._is_finished:
            raise UsageError(f"Run ({self.id}) is finished. The call to `log` will be ignored.")
        if not isinstance(data, Mapping):
            raise TypeError(f"Expected `data` to be a dictionary but got type {type(data)}.")
        if any(not isinstance(key, str) for key in data):
            raise TypeError("Key values passed to `wandb.log` must be strings.")
        if not self._recorder.log(data, step, commit):
            sys.stderr.write(f"wandb stand-in: step {step} is before {self.step}; ignored\n")
        dict.update(self.summary, self._recorder.summary)

    def define_metric(
        self,
        name: str,
        step_metric: Any = None,
        summary: str | None = None,
        goal: str | None = None,
        overwrite: bool | None = None,
        **_: Any,
    ) -> Stub:
        """Say what of a metric's history is its result."""
        self._recorder.define(name, summary, goal, overwrite)
        return Stub(name, step_metric)

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """Write what is held back."""
        del exit_code, quiet
        if not self._is_finished:
            # What was set inside of a mapping of the summary is heard now.
            nested = {name: one for name, one in self.summary.items() if isinstance(one, Mapping) and one}
            self._recorder.finish()
            self._recorder.set_summary(nested)
            dict.update(self.summary, self._recorder.summary)
            self._is_finished = True
            self._on_finish(self)

    join = finish

    def log_artifact(
        self, artifact: Any, name: str | None = None, type: str | None = None, **_: Any
    ) -> Artifact:
        """Return the artifact; it goes nowhere."""
        return artifact if isinstance(artifact, Artifact) else Artifact(name or "", type or "")

    def log_code(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""

    def use_artifact(self, artifact: Any, *args: Any, **kwargs: Any) -> Any:
        """Raise: what is used must come from somewhere."""
        del args, kwargs
        if isinstance(artifact, Artifact):
            return artifact
        raise needs_server("use_artifact")

    use_model = use_artifact

    def restore(self, *args: Any, **kwargs: Any) -> Any:
        """Raise."""
        raise needs_server("restore")

    def get_url(self) -> None:
        """Return None: there is no page."""

    def _nothing(self, *args: Any, **kwargs: Any) -> Any:
        """Do nothing."""

    get_project_url = get_sweep_url = _nothing
    save = watch = unwatch = alert = mark_preempting = link_artifact = log_model = link_model = _nothing
    upsert_artifact = finish_artifact = display = status = _label = _nothing

    def to_html(self, *args: Any, **kwargs: Any) -> str:
        """Return nothing to show."""
        del args, kwargs
        return ""

    def project_name(self) -> str:
        """Return the project."""
        return self.project

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        self.finish()


def _is_disabled(options: Mapping[str, Any]) -> bool:
    settings = options.get("settings")
    asked = settings if isinstance(settings, Mapping) else vars(settings) if settings is not None else {}
    mode = options.get("mode") or asked.get("mode") or os.environ.get("WANDB_MODE")
    return mode == "disabled"
