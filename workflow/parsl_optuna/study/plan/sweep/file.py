"""W&B sweep files: read, checked, flattened. Pure but for reading."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from parsl_optuna.core.errors import Mistakes, SpecError
from parsl_optuna.core.ids import derive_seed
from parsl_optuna.core.load import read_yaml, structure
from parsl_optuna.study.plan.sweep.distributions import Distribution, parse
from parsl_optuna.study.search.hyperband import Bands

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")


@dataclass(frozen=True)
class Metric:
    """What a sweep optimises.

    Attributes:
        name: As it is logged.
        goal: Which way is better.
        target: No run is started any more once it is reached.
        impute: Accepted, without effect: failed runs are told as failed.
        impute_while_running: Accepted, without effect.
    """

    name: str
    goal: Literal["minimize", "maximize"] = "minimize"
    target: float | None = None
    impute: str | None = None
    impute_while_running: str | None = None


@dataclass(frozen=True)
class _Written:
    """All keys that a sweep file may have; those of the service itself have no effect here."""

    method: Literal["grid", "random", "bayes"]
    parameters: dict[str, Any]
    program: str | None = None
    metric: Metric | None = None
    early_terminate: dict[str, Any] | None = None
    command: list[Any] | None = None
    run_cap: int | None = None
    name: str | None = None
    description: str | None = None
    project: str | None = None
    entity: str | None = None
    controller: Any = None
    job: str | None = None
    image_uri: str | None = None
    apiVersion: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
        method: How runs are chosen.
        parameters: By flat name: parts of a nested parameter are ``outer.inner``; sorted.
        nested: Outer name -> inner names.
        program: What runs.
        command: How it is called, in words with macros.
        metric: What is optimised; None leaves it to the task.
        bands: When hopeless runs are stopped; None never.
        run_cap: At most so many runs.
        name: For people.
    """

    method: str
    parameters: Mapping[str, Distribution]
    nested: Mapping[str, list[str]] = field(default_factory=dict)
    program: str | None = None
    command: tuple[str, ...] = DEFAULT_COMMAND
    metric: Metric | None = None
    bands: Bands | None = None
    run_cap: int | None = None
    name: str | None = None

    @property
    def constants(self) -> dict[str, Any]:
        """Parameters with one value."""
        return {name: one.values[0] for name, one in self.parameters.items() if one.is_constant}


def read_sweep(path: Path, best_of: Mapping[str, Mapping[str, Any]] | None = None) -> Sweep:
    """Read a sweep file.

    Args:
        path: The file.
        best_of: Best hyperparameters by results folder, for parameters given as ``from: FOLDER``.

    Raises:
        SpecError: Every mistake in it, each with its place.
    """
    where = f"{path} $"
    written = structure(_Written, read_yaml(path), where)
    mistakes = Mistakes()
    found: dict[str, Distribution] = {}
    nested: dict[str, list[str]] = {}
    for name, raw in sorted(written.parameters.items()):
        place = f"{where}.parameters.{name}"
        with mistakes:
            if not _NAME.fullmatch(name):
                raise SpecError(f"{place}: a name has letters, digits, '_', '.' and '-' only")
            if isinstance(raw, Mapping) and isinstance(raw.get("parameters"), Mapping):
                nested[name] = sorted(raw["parameters"])
                for inner in nested[name]:
                    spot = f"{place}.parameters.{inner}"
                    found[f"{name}.{inner}"] = parse(raw["parameters"][inner], spot)
            elif isinstance(raw, Mapping) and set(raw) == {"from"}:
                found[name] = _inherited(name, str(raw["from"]), best_of or {}, place)
            else:
                found[name] = parse(raw, place)
    if not written.parameters:
        mistakes.add(f"{where}.parameters: is empty; name at least one")
    if written.run_cap is not None and written.run_cap < 1:
        mistakes.add(f"{where}.run_cap: {written.run_cap} must be at least 1")
    if written.method == "bayes" and written.metric is None:
        mistakes.add(f"{where}.metric: is missing; bayes needs one, e.g. {{name: val_loss, goal: minimize}}")
    bands = None
    with mistakes:
        bands = _bands(written, f"{where}.early_terminate")
    if written.method == "grid":
        for name, one in found.items():
            with mistakes:
                one.listed(f"{where}.parameters.{name}")
    mistakes.raise_any()
    command = DEFAULT_COMMAND if written.command is None else tuple(str(word) for word in written.command)
    return Sweep(
        written.method,
        found,
        nested,
        written.program,
        command,
        written.metric,
        bands,
        written.run_cap,
        written.name,
    )


def sources(path: Path) -> list[str]:
    """Return the results folders that parameters are taken from."""
    parameters = read_yaml(path).get("parameters")
    if not isinstance(parameters, Mapping):
        return []
    entries = [raw for raw in parameters.values() if isinstance(raw, Mapping)]
    return sorted({str(raw["from"]) for raw in entries if set(raw) == {"from"}})


def grid(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """Yield all points of a grid, the last name varying fastest; repeated ones once."""
    values = [one.listed(name) for name, one in sweep.parameters.items()]
    seen: set[str] = set()
    for point in itertools.product(*values):
        key = json.dumps(point)
        if key not in seen:
            seen.add(key)
            yield dict(zip(sweep.parameters, point, strict=True))


def random_points(sweep: Sweep, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield *count* random points; the k-th one does not depend on how many there are."""
    for index in range(count):
        stream = random.Random(derive_seed("sweep", seed, index))
        yield {name: one.draw(stream) for name, one in sweep.parameters.items()}


def _bands(written: _Written, where: str) -> Bands | None:
    if written.early_terminate is None:
        return None
    keys = dict(written.early_terminate)
    kind = keys.pop("type", None)
    if kind != "hyperband":
        raise SpecError(f"{where}.type: must be hyperband, got {kind!r}")
    if written.metric is None:
        raise SpecError(f"{where}: needs a metric to compare runs by")
    return structure(Bands, keys, where)


def _inherited(name: str, folder: str, best_of: Mapping[str, Mapping[str, Any]], where: str) -> Distribution:
    best = best_of.get(folder)
    if best is None:
        raise SpecError(f"{where}.from: '{folder}' holds no finished runs yet; run that sweep first")
    if name not in best:
        raise SpecError(f"{where}.from: the best run in '{folder}' has no '{name}'")
    return Distribution("constant", (best[name],))
