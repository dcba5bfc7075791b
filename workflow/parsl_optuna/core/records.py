"""The records that driver, worker and files share: what was asked, and what came back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from parsl_optuna.core.codec import Record, Timestamp
from parsl_optuna.core.errors import MetricNameError
from parsl_optuna.core.ids import trial_id
from parsl_optuna.core.resources import LimitsSpec
from parsl_optuna.core.space import Scalar

SCHEMA = 2
"""Number of the form of every file on disk. An added field does not change it: readers fill in the default,
and older programs keep what they do not know. Files without a number are of form 1."""

Role = Literal["trial", "reference"]

AFTERWARDS = frozenset({"confirm", "baseline"})
"""Who asks for trials that are no part of a search: they say what its choice is worth."""


class State(StrEnum):
    """How a trial ended. The search sees everything but ``ok`` and ``pruned`` as failed."""

    OK = "ok"
    FAILED = "failed"
    INVALID = "invalid"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    LOST = "lost"
    PRUNED = "pruned"


@dataclass(frozen=True)
class Manifest(Record):
    """Everything that fixes one trial; its hash is the trial's id.

    A field added later has a default, and counts towards the id only with another value: ids do not move.
    Who proposed a trial, or where it runs, belongs in `Asked`.

    Attributes:
        task: Name of the task.
        task_version: Version of the task.
        role: ``trial``, or ``reference`` for a reference value.
        pid: The problem's id.
        method: Name of the method.
        hyperparams: Complete hyperparameters.
        seed: Replicate number: the same hyperparameters with the same seed are the same trial.
        budget_sec: Time allowed. Not part of a reference's identity: more time makes the same
            reference better, not another one.
    """

    task: str
    task_version: int
    role: Role
    pid: str
    method: str
    hyperparams: Mapping[str, Scalar]
    seed: int
    budget_sec: float

    @cached_property
    def trial_id(self) -> str:
        """Return ``r_`` + 12 hex digits."""
        return trial_id(self.identity())

    def identity(self) -> dict[str, Any]:
        """Return the hashed part as plain data."""
        data = {one.name: getattr(self, one.name) for one in fields(self) if _counts(self, one)}
        data["hyperparams"] = dict(self.hyperparams)
        if self.role == "reference":
            del data["budget_sec"]
        return data


def _counts(manifest: Manifest, entry: Field[Any]) -> bool:
    """Whether a field is part of the identity: an added one only with another value than its default."""
    if entry.name == "unknown":
        return False
    default = entry.default if entry.default_factory is MISSING else entry.default_factory()
    return default is MISSING or getattr(manifest, entry.name) != default


@dataclass(frozen=True)
class Asked(Record):
    """Who proposed a trial, when, and why; stored with its manifest, not part of its identity.

    Attributes:
        number: The trial's number in its study; None outside a search.
        at: UTC timestamp.
        by: ``search``, ``enqueue``, ``extend``, ``confirm``, ``baseline``, ``fixed`` or ``reference``.
        attempt: How many proposals for this number were refused before, as known already.
        extends: The shorter trial whose last checkpoint this one starts from.
        objective: How the trial is scored, as `Scoring.to_json` gives it; empty in older manifests,
            and of references.
    """

    number: int | None
    at: Timestamp
    by: str
    attempt: int = 0
    extends: str | None = None
    objective: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """A trial as it is stored before its launch: what it is, and who proposed it, when and why."""

    manifest: Manifest
    asked: Asked


@dataclass(frozen=True)
class Request:
    """A stored trial that is to run: what crosses to a worker, and from there to its child process.

    Attributes:
        root: The artifacts folder, an absolute path.
        pid: The problem's id.
        method: Name of the method.
        trial_id: The trial's id.
        budget_sec: Time allowed for the run itself; it is killed when it overruns this and its grace.
        limits: What the trial may take besides.
        prunable: Whether the driver may ask the trial to stop.
        leaving: A file; while it exists, nothing is started. None without one.
        launch: The folder in which the command was started; empty for the current one.
    """

    root: str
    pid: str
    method: str
    trial_id: str
    budget_sec: float = math.inf
    limits: LimitsSpec = field(default_factory=LimitsSpec)
    prunable: bool = False
    leaving: str | None = None
    launch: str = ""

    @property
    def launch_folder(self) -> Path:
        """The folder in which the command was started."""
        return Path(self.launch or Path.cwd())

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Request:
        """Read what `to_json` returned."""
        limits = data["limits"] | {"keep_files": tuple(data["limits"]["keep_files"])}
        return cls(**{**data, "limits": LimitsSpec(**limits)})


@dataclass(frozen=True)
class Outcome(Record):
    """What came back from a trial, as ``metrics.json`` stores it.

    It has no objective: that follows from the metrics, the problem's reference and `Asked.objective`
    (`core.ended.score`). Older versions stored it here; such keys are in ``unknown``.

    Attributes:
        trial_id: The trial's id.
        pid: The problem's id.
        method: Name of the method.
        state: How it ended.
        reason: One line on why the state is not ``ok``.
        runtime_sec: Time used by the run itself; preparing the problem is not counted.
        budget_sec: Time allowed.
        prepare_sec: Time this worker spent preparing the problem; 0 when it was there.
        started: UTC timestamp.
        ended: UTC timestamp.
        host: Where it ran.
        traceback: Of a failed run.
        versions: Python and packages.
        git_commit: Of the folder of the user's code, with ``+dirty`` where files differ from it.
        code: The user's files that the trial imported or read, each with its checksum; a large one with its
            size and time.
        worker: Parsl's and the scheduler's ids.
        metrics: What the task returned, by names of its own.
        cure: What has to be changed first, where no trial of the study can succeed as it is.
    """

    trial_id: str
    pid: str
    method: str
    state: State
    reason: str | None
    runtime_sec: float
    budget_sec: float
    started: Timestamp
    ended: Timestamp
    host: str
    prepare_sec: float = 0.0
    traceback: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    worker: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    cure: str | None = None


def outcome_of_form_1(data: Mapping[str, Any]) -> dict[str, Any]:
    """Turn an outcome of form 1, which had the metrics at top level, into today's."""
    own = {name: value for name, value in data.items() if name in _KEYS_OF_FORM_1}
    return own | {"metrics": {name: value for name, value in data.items() if name not in _KEYS_OF_FORM_1}}


_KEYS_OF_FORM_1 = frozenset(
    {"trial_id", "pid", "method", "state", "reason", "runtime_sec", "budget_sec", "started", "ended", "host"}
    | {"prepare_sec", "traceback", "versions", "git_commit", "worker", "objective", "objectives", "judged_by"}
)
"""All other keys of an outcome of form 1 are metrics."""

ENGINE_METRICS = frozenset({"runtime_sec"})
"""Names that an objective may have beside those of metrics; a metric must not use them."""


def check_metric_names(metrics: Mapping[str, Any]) -> None:
    """Refuse names that no metric can have.

    Raises:
        MetricNameError: A name that is no string, is empty, or is one that the engine measures.
    """
    for name in metrics:
        if not isinstance(name, str) or not name:
            raise MetricNameError(f"a metric's name must be a string that is not empty, got {name!r}")
        if name in ENGINE_METRICS:
            raise MetricNameError(
                f"the metric '{name}' has a name of the engine, which measures it; rename it"
            )


@dataclass(frozen=True)
class Comparison:
    """The names under which estimates and their reference value are stored.

    Attributes:
        value: Metric of a trial that is compared.
        value_se: Its standard error.
        reference: Column and key of the reference value.
        reference_se: Its standard error.
        violation: Metric that says how far the diagnosis of a trial, its metric ``status``, is from ``ok``; 0
            where it is. None where trials have no diagnosis.
        bias: Metric that says how large its bias may be, beside its standard error; None without one.
    """

    value: str
    value_se: str
    reference: str
    reference_se: str
    violation: str | None = None
    bias: str | None = None


@dataclass(frozen=True)
class ReferenceValue(Record):
    """The reference value of a problem, as ``ref.json`` stores it.

    Attributes:
        value: The value that estimates are compared with; None when it is not finite.
        se: Its standard error.
        status: The task's diagnosis; ``ok`` means that the reference passed it.
        status_reason: The number that shows why it did not.
        trial_id: The trial that computed it.
    """

    value: float | None
    se: float | None
    status: str
    status_reason: str | None
    trial_id: str

    @property
    def is_reliable(self) -> bool:
        """Whether it passed its diagnosis and is finite."""
        return self.status == "ok" and self.value is not None
