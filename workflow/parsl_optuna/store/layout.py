"""Every path of the artifacts and the results; the only place where they are joined."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from parsl_optuna.core import ids
from parsl_optuna.core.errors import SpecError

_LEAVING = "leaving"
_ALONE = ("optuna_trials", "sweep_runs")
"""Names of tables whose page is ``report.html``."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
PROBLEM_FOLDER, METHOD_FOLDER = re.compile(rf"p_[0-9a-f]{{{ids.ID_HEX_DIGITS}}}"), _NAME
TRIAL_FOLDER = re.compile(rf"r_[0-9a-f]{{{ids.ID_HEX_DIGITS}}}")
"""What folders are called; other ones, a copy that somebody made say, are none of ours and passed over."""


@dataclass(frozen=True)
class Artifacts:
    """Paths below the artifacts folder."""

    root: Path

    @cached_property
    def problems(self) -> Path:
        """Folder of all problems."""
        return self.root / "problems"

    @cached_property
    def runs(self) -> Path:
        """Folder of all trials."""
        return self.root / "runs"

    def problem(self, pid: str) -> Path:
        """Resolved spec of a problem."""
        return self.problems / _checked(pid) / "problem.json"

    def reference(self, pid: str) -> Path:
        """ReferenceValue answer of a problem."""
        return self.problems / _checked(pid) / "ref.json"

    def prepared(self, pid: str) -> Path:
        """Folder of what the task prepared for a problem."""
        return self.problems / _checked(pid) / "prepared"

    def trials(self, pid: str, method: str) -> Path:
        """Folder of the trials of a problem and method."""
        return _below(self.runs, pid, method)

    def leaving(self, driver: str) -> Path:
        """While it exists, none of that driver's queued trials is started."""
        return _below(self.root, _LEAVING, driver)

    def manifest(self, pid: str, method: str, trial_id: str) -> Path:
        """What a trial is."""
        return _below(self.runs, pid, method, trial_id, "manifest.json")

    def metrics(self, pid: str, method: str, trial_id: str) -> Path:
        """What came of a trial."""
        return _below(self.runs, pid, method, trial_id, "metrics.json")

    def progress(self, pid: str, method: str, trial_id: str) -> Path:
        """What a trial reports while it runs."""
        return _below(self.runs, pid, method, trial_id, "progress.jsonl")

    def files(self, pid: str, method: str, trial_id: str) -> Path:
        """Folder for what else a trial leaves."""
        return _below(self.runs, pid, method, trial_id, "files")

    def output(self, pid: str, method: str, trial_id: str, stream: str) -> Path:
        """What a trial printed on ``stdout`` or ``stderr``."""
        return _below(self.runs, pid, method, trial_id, f"{stream}.txt")

    def stop(self, pid: str, method: str, trial_id: str) -> Path:
        """The request that a trial be pruned."""
        return _below(self.runs, pid, method, trial_id, "stop.json")


@dataclass(frozen=True)
class Results:
    """Paths below the results folder.

    Attributes:
        root: The folder.
        name: Of the table, ``optuna_trials`` or ``llc_runs``.
    """

    root: Path
    name: str = "optuna_trials"

    @property
    def table(self) -> Path:
        """One row per trial."""
        return self.root / f"{self.name}.parquet"

    @property
    def picture(self) -> Path:
        """Convergence of every study."""
        return self.root / f"{self.name}.png"

    @property
    def best(self) -> Path:
        """Best point of every study, with its confirmation."""
        return self.root / "best.json"

    @property
    def report(self) -> Path:
        """The page for people; of a table that may lie beside others, by its name."""
        return self.root / f"{'report' if self.name in _ALONE else self.name}.html"

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / f"{self.name}_config.yaml"

    @property
    def events(self) -> Path:
        """What happened, an event per line."""
        return self.root / "events.jsonl"

    @property
    def progress(self) -> Path:
        """How far the run is, for `watch`."""
        return self.root / "progress.json"

    @property
    def lease(self) -> Path:
        """Who is writing here."""
        return self.root / "driver.lock"

    def study(self, task: str, pid: str, method: str) -> Path:
        """A pickled study for notebooks; never read by this package."""
        folder = f"optuna_{_checked(task.replace(':', '.'))}"  # a task may be named module:NAME
        return self.root / "studies" / folder / f"{_checked(pid)}:{_checked(method)}.pkl"


def check_apart(artifacts: Path, results: Path) -> None:
    """Refuse results among the folders of problems and trials, where they would be read as one of these.

    Raises:
        SpecError: They lie there.
    """
    paths, inside = Artifacts(artifacts.resolve()), results.resolve()
    for folder in (paths.problems, paths.runs, paths.root / _LEAVING):
        if inside.is_relative_to(folder):
            raise SpecError(
                f"results_dir '{results}' lies in {folder}, whose folders are problems and trials; "
                "choose another folder"
            )


@lru_cache(maxsize=4096)  # asked for several times with every trial
def _below(folder: Path, *names: str) -> Path:
    return folder.joinpath(*map(_checked, names))


def _checked(name: str) -> str:
    """Refuse a name that could leave its folder."""
    if not _NAME.fullmatch(name):
        raise SpecError(f"'{name}' is no name: use letters, digits, '_', '-' and '.'")
    return name
