"""What an earlier sweep found best, problem by problem, for parameters given as ``from: FOLDER``. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.objective import finite
from parsl_optuna.core.seeds import is_seed


@dataclass(frozen=True)
class Earlier:
    """The table of an earlier sweep.

    Attributes:
        rows: With ``pid``, ``problem``, ``state``, ``objective``, ``hyperparams_json``; none without one.
        is_maximised: Whether more of the objective is better.
    """

    rows: Sequence[Mapping[str, Any]]
    is_maximised: bool = False


@dataclass(frozen=True)
class Winner:
    """The best configuration of one problem.

    Attributes:
        label: Of the problem.
        hyperparams: Complete hyperparameters, those of one of its seeds.
        mean: Mean objective over its seeds.
        n_seeds: How many there were.
    """

    label: str
    hyperparams: Mapping[str, Any]
    mean: float
    n_seeds: int


class Winners:
    """The winners of several results folders.

    Args:
        tables: The table of each folder.
    """

    def __init__(self, tables: Mapping[str, Earlier]) -> None:
        self._found = {folder: best_by_problem(table) for folder, table in tables.items()}
        self.notes: dict[str, None] = {}

    def value(self, folder: str, name: str, pid: str, label: str, where: str) -> Any:
        """Return the winner's value of a parameter, by its flat name or the last part of that.

        Raises:
            SpecError: The folder has no finished runs of the problem, or they have no such parameter.
        """
        found = self._found.get(folder)
        if not found:
            raise SpecError(f"{where}.from: '{folder}' holds no finished runs yet; run that sweep first")
        winner = found.get(pid)
        if winner is None and len(found) == 1:
            (winner,) = found.values()
            self.notes[f"from {folder}: {label} takes the best of {winner.label}, its only problem"] = None
        if winner is None:
            known = ", ".join(sorted(one.label for one in found.values()))
            raise SpecError(f"{where}.from: '{folder}' has no runs of the problem {label}, but of {known}")
        for key in (name, name.rpartition(".")[2]):
            if key in winner.hyperparams:
                return winner.hyperparams[key]
        raise SpecError(f"{where}.from: the runs in '{folder}' have no '{name}'")


def best_by_problem(table: Earlier) -> dict[str, Winner]:
    """Return the configuration with the best mean objective over its seeds, by problem id.

    Only configurations with as many finished seeds as any other of the problem compete: the mean of fewer
    is the luckier one.
    """
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    points: dict[tuple[str, str], Mapping[str, Any]] = {}
    labels: dict[str, str] = {}
    for row in table.rows:
        objective = finite(row["objective"])
        if row["state"] != "ok" or objective is None:
            continue
        hyperparams = json.loads(row["hyperparams_json"])
        rest = {name: value for name, value in hyperparams.items() if not is_seed(name)}
        key = json.dumps(rest, sort_keys=True)
        values[row["pid"]][key].append(objective)
        points.setdefault((row["pid"], key), hyperparams)
        labels[row["pid"]] = str(row["problem"])
    found = {}
    for pid, by_key in values.items():
        most = max(map(len, by_key.values()))
        means = {key: fmean(one) for key, one in by_key.items() if len(one) == most}
        sign = -1.0 if table.is_maximised else 1.0
        best = min(means, key=lambda key: (sign * means[key], key))
        found[pid] = Winner(labels[pid], points[pid, best], means[best], most)
    return found
