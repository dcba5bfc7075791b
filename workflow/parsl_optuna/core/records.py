"""The records that driver, worker and files share: what was asked, and what came back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

from parsl_optuna.core.ids import trial_id
from parsl_optuna.core.resources import LimitsSpec
from parsl_optuna.core.space import Scalar

Role = Literal["trial", "reference"]


class State(StrEnum):
    """How a trial ended. Everything but ``ok`` and ``pruned`` is told to the search as failed."""

    OK = "ok"
    FAILED = "failed"
    INVALID = "invalid"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    LOST = "lost"
    PRUNED = "pruned"


@dataclass(frozen=True)
class Manifest:
    """Everything that fixes one trial; its hash is the trial's id.

    Attributes:
        task: Name of the task.
        task_version: Version of the task.
        role: ``trial``, or ``reference`` for a trusted answer.
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

    @classmethod
    def known(cls, trial_id: str, data: Mapping[str, Any]) -> Manifest:
        """Return a manifest whose id has been checked before."""
        manifest = cls(**{name: data[name] for name in _MANIFEST})
        manifest.__dict__["trial_id"] = trial_id  # where the cached property would put it
        return manifest

    def identity(self) -> dict[str, Any]:
        """Return the hashed part as plain data."""
        data = self.to_json()
        if self.role == "reference":
            del data["budget_sec"]
        return data

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        data = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return data | {"hyperparams": dict(self.hyperparams)}


_MANIFEST = tuple(entry.name for entry in fields(Manifest))


@dataclass(frozen=True)
class Asked:
    """How a manifest came about; stored with it, not part of its identity.

    Attributes:
        number: The trial's number in its study; None outside a search.
        at: UTC timestamp.
        by: ``search``, ``enqueue``, ``extend``, ``confirm``, ``fixed`` or ``reference``.
        attempt: How many proposals for this number were refused before, as known already.
        extends: The shorter trial whose end this one goes on from.
        objective: How the trial is scored, as `Scoring.to_json` gives it; empty in older manifests,
            and of references.
    """

    number: int | None
    at: str
    by: str
    attempt: int = 0
    extends: str | None = None
    objective: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """A trial as it is stored before its launch: what it is, and how it came about."""

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
    """

    root: str
    pid: str
    method: str
    trial_id: str
    budget_sec: float = math.inf
    limits: LimitsSpec = field(default_factory=LimitsSpec)
    prunable: bool = False
    leaving: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Request:
        """Read what `to_json` returned."""
        return cls(**{**data, "limits": LimitsSpec(**data["limits"])})


@dataclass(frozen=True)
class Outcome:
    """What came back from a trial; ``metrics.json`` is this record with the metrics at top level.

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
        git_commit: Of this package, when it runs from a checkout.
        worker: Parsl's and the scheduler's ids.
        objective: First objective, written by older versions only: objectives are computed from the metrics
            and from how the trial was asked for.
        objectives: All of them, by name; as above.
        judged_by: The objective as older versions stored it here; now `Asked` has it.
        metrics: What the task returned.
    """

    trial_id: str
    pid: str
    method: str
    state: State
    reason: str | None
    runtime_sec: float
    budget_sec: float
    started: str
    ended: str
    host: str
    prepare_sec: float = 0.0
    traceback: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    worker: Mapping[str, str] = field(default_factory=dict)
    objective: float | None = None
    objectives: Mapping[str, float | None] = field(default_factory=dict)
    judged_by: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, the metrics at the top level."""
        data = {name: getattr(self, name) for name in OUTCOME_KEYS}
        return data | {"state": self.state.value} | dict(self.metrics)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """Read plain data.

        Raises:
            KeyError, ValueError, TypeError: Not the record that `to_json` wrote.
        """
        own: dict[str, Any] = {name: data[name] for name in OUTCOME_KEYS if name != "judged_by"}
        own["judged_by"] = data.get("judged_by", {})  # which older versions did not write
        own["state"] = State(own["state"])
        metrics = {name: value for name, value in data.items() if name not in OUTCOME_KEYS}
        return cls(**own, metrics=metrics)


OUTCOME_KEYS = tuple(entry.name for entry in fields(Outcome) if entry.name != "metrics")
"""Keys of ``metrics.json`` that belong to the engine; a metric must not use them."""


@dataclass(frozen=True)
class Comparison:
    """The names under which estimates and the trusted answer are stored.

    Attributes:
        value: Metric of a trial that is compared.
        value_se: Its standard error.
        reference: Column and key of the trusted value.
        reference_se: Its standard error.
    """

    value: str
    value_se: str
    reference: str
    reference_se: str


@dataclass(frozen=True)
class Trusted:
    """A reference as `ref.json` stores it.

    Attributes:
        value: The trusted value; None when not finite.
        se: Its standard error.
        status: The task's word on it; ``ok`` means it passed its gate.
        status_reason: The number that shows why not.
        trial_id: The run it came from.
    """

    value: float | None
    se: float | None
    status: str
    status_reason: str | None
    trial_id: str

    @property
    def is_trusted(self) -> bool:
        """Whether it passed its gate."""
        return self.status == "ok" and self.value is not None
