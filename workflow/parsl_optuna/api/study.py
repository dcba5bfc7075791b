"""A study from Python: the same runs, files and ids as from YAML."""

from __future__ import annotations

import inspect
import sys
import textwrap
import tokenize
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsl_optuna.api import session
from parsl_optuna.api.main_only import differing
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.load import structure
from parsl_optuna.core.spec import RunSpec
from parsl_optuna.store import document
from parsl_optuna.store.atomic import write_bytes
from parsl_optuna.store.layout import Results
from parsl_optuna.tasks.source import relative

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from plotly.graph_objects import Figure

    from parsl_optuna.api.by_hand import AskedTrial, ByHand

_WHERE = "Study"

_OF_OPTUNA = {
    "direction": "objectives={'loss': 'minimize'}, by the names of metrics",
    "directions": "objectives={'loss': 'minimize', 'accuracy': 'maximize'}, by the names of metrics",
    "n_jobs": "batch_size",
    "timeout": "max_hours",
}
"""What Optuna's users write, and what it is here."""


class Study:
    """Hyperparameters of a function, a program or a task, tuned as ``parsl-optuna --config`` does.

    What has ended is kept in *artifacts_dir*: run the cell or script again, and the study continues.

    Args:
        objective: A function whose arguments are the hyperparameters and whose result is minimised. It is
            found by its file; a function typed into a notebook is written to one in *results_dir*, so that
            it imports what it needs itself. None for other tasks.
        space: ``parameter -> {low, high, log, step}``, ``{choices}`` or a fixed value; for a task with
            methods, ``method -> parameter -> …``.
        task: The task, where no function is given: ``command``, ``llc``, or any other.
        problems: Problems of the task, each a mapping as in YAML.
        artifacts_dir: Where trials are kept.
        results_dir: Where tables are written.
        cluster: What to ask a scheduler for.
        limits: Grace, memory, checkpoints.
        others: Further blocks of the YAML, such as ``methods``, ``enqueue`` or ``reference``.
        **optuna: Keys of the block ``optuna``: ``max_trials``, ``batch_size``, ``sampler``, …

    Raises:
        SpecError: All mistakes, one per line.
    """

    def __init__(
        self,
        objective: Callable[..., Any] | None = None,
        space: Mapping[str, Any] | None = None,
        *,
        task: str | None = None,
        problems: Sequence[Mapping[str, Any]] | None = None,
        artifacts_dir: str | Path = "artifacts",
        results_dir: str | Path = "results",
        cluster: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        others: Mapping[str, Any] | None = None,
        **optuna: Any,
    ) -> None:
        if (objective is None) == (task is None):
            raise SpecError(f"{_WHERE}: give either a function or task=…")
        for name in [name for name in _OF_OPTUNA if name in optuna]:
            raise SpecError(f"{_WHERE}.{name}: is a word of Optuna's; here it is {_OF_OPTUNA[name]}")
        if objective is not None:
            _check_arguments(objective, space or {})
            task, problems = "function", [{"function": _place(objective, Path(results_dir))}]
        data: dict[str, Any] = {
            "task": task,
            "problems": [dict(one) for one in problems or []],
            "search_space": {"function": dict(space or {})} if task == "function" else dict(space or {}),
            "optuna": optuna,
            "artifacts_dir": str(artifacts_dir),
            "results_dir": str(results_dir),
        }
        blocks = {"cluster": cluster, "limits": limits}
        data |= {name: dict(block) for name, block in blocks.items() if block is not None}
        self._open(structure(RunSpec, _plain(data | dict(others or {})), _WHERE), _WHERE)

    @classmethod
    def from_yaml(cls, path: str | Path, assignments: Sequence[str] = ()) -> Study:
        """Open the study of a configuration file.

        Args:
            path: The file.
            assignments: ``KEY=VALUE`` over the file, as after ``--set``.

        Raises:
            SpecError: All mistakes, one per line.
        """
        from parsl_optuna.study.plan.tuning import load_run  # noqa: PLC0415

        return cls.from_spec(load_run(Path(path), assignments), str(path))

    @classmethod
    def from_spec(cls, spec: RunSpec, where: str) -> Study:
        """Open the study of a configuration that has been read; *where* begins its messages."""
        study = cls.__new__(cls)
        study._open(spec, where)
        return study

    def _open(self, spec: RunSpec, where: str) -> None:
        from parsl_optuna.study.plan.tuning import plan_run  # noqa: PLC0415  it imports Optuna

        self.spec, self.plan = spec, plan_run(spec, where)
        self.results = Results(Path(spec.results_dir))
        self.result: Any = None

    def __repr__(self) -> str:
        labels = ", ".join(f"{study.label} ({study.method})" for study in self.plan.studies)
        return f"<Study of {labels}; results in {self.spec.results_dir}>"

    def run(self, workers: str | Path = "local") -> Study:
        """Run until every trial has ended, with progress; return this study.

        Ctrl-C once, or a notebook's stop button, lets what runs end; what has ended is kept.

        Args:
            workers: ``local``, one process per core; ``inline``, this process; ``slurm`` or ``pbs``; or a
                file with a Parsl configuration.

        Raises:
            WorkflowError: The workers or the store fail. A failing trial does not raise.
        """
        spec = self.spec
        if workers not in ("local", "inline"):
            spec = replace(spec, parsl_config=str(workers))
        with session.kept_signals():
            self.result = session.carry_out(
                spec,
                self.plan,
                self.results,
                local=workers == "local",
                inline=workers == "inline",
                report=self._write,
            )
        return self

    def ask(self) -> AskedTrial | None:
        """Return a trial for you to run, in place of a worker.

        None where all have run, or the study has stopped. It has the id that it has in a run. What an earlier
        process asked for and did not tell comes first.

        Raises:
            SpecError: As many as ``batch_size`` were asked for and not told, or the task has a reference.
            HeldError: Another process is at work in this results folder.
        """
        return self._by_hand.ask()

    def tell(
        self,
        trial: AskedTrial | str,
        result: Any = None,
        *,
        failed: str | None = None,
        runtime_sec: float | None = None,
    ) -> None:
        """Store what came of a trial, and write the tables anew.

        Args:
            trial: What `ask` returned, or its id.
            result: A number, which is the task's own metric (``loss`` of a function), or a dict of metrics.
            failed: Why there is no result, in place of one.
            runtime_sec: How long it took; the time since it was asked for, if left out.

        Raises:
            SpecError: No such trial, one that has ended, or a result or time that cannot be stored.
            HeldError: Another process is at work in this results folder.
        """
        self._by_hand.tell(trial, result, failed=failed, runtime_sec=runtime_sec)

    @cached_property
    def _by_hand(self) -> ByHand:
        from parsl_optuna.api.by_hand import ByHand  # noqa: PLC0415

        return ByHand(self.spec, self.plan, self.results)

    def _write(self, result: Any) -> None:
        session.write_summary(self.plan, result, self.results)

    def trials(self) -> pd.DataFrame:
        """Return every ended trial as a row: the table that the run wrote.

        docs/columns.md names the columns: ``objective`` is the first objective, ``state`` how the trial
        ended, ``hyperparams`` its parameters, ``metrics`` what it returned.

        Raises:
            SpecError: The study has not run.
        """
        return self._table().to_pandas()

    def _table(self) -> pa.Table:
        from parsl_optuna.report.tables import read  # noqa: PLC0415

        if not self.results.table.exists():
            raise SpecError(f"{self.results.table}: is not there; call run(), or ask() and tell(), first")
        return read(self.results.table)

    def best(self) -> list[dict[str, Any]]:
        """Return the best point of every problem and method, the content of ``best.json``.

        Raises:
            SpecError: The study has not run.
        """
        data = document.read(self.results.best)
        if data is None:
            raise SpecError(f"{self.results.best}: is not there; call run(), or ask() and tell(), first")
        return list(data["studies"])

    def front(self) -> list[dict[str, Any]]:
        """Return the Pareto front of every problem and method; empty for one objective.

        Each member has ``objectives``, and where it was run again ``confirmed``: their means on fresh seeds.
        """
        return [member for point in self.best() for member in point["front"]]

    def to_optuna(self, storage: Any) -> list[str]:
        """Write the trials to an Optuna storage and return the names of its studies.

        Args:
            storage: A URL such as ``sqlite:///study.db``, or a storage object of Optuna.
        """
        from parsl_optuna.report.tables import leading_of, maximised_of, objectives_of  # noqa: PLC0415
        from parsl_optuna.study.search.export import export  # noqa: PLC0415

        table, root = self._table(), Path(self.spec.artifacts_dir)
        rows = table.to_pandas().to_dict("records")
        return export(rows, objectives_of(table), maximised_of(table), root, storage, leading_of(table))

    def plot_optimization_history(self, **which: Any) -> Figure:
        """Return Optuna's figure of the objective of every trial, and of the best one so far.

        Args:
            **which: Of all figures: ``objective``, the one that is shown, by name; ``method`` and ``problem``
                (its label), where the study has several.

        Raises:
            SpecError: No trial has ended, several methods or problems are left, or Optuna cannot draw these.
        """
        return self._figure("plot_optimization_history", **which)

    def plot_param_importances(self, **which: Any) -> Figure:
        """Return Optuna's figure of how much each parameter matters; see `plot_optimization_history`."""
        return self._figure("plot_param_importances", **which)

    def plot_slice(self, params: list[str] | None = None, **which: Any) -> Figure:
        """Return Optuna's figure of the objective by each parameter; see `plot_optimization_history`."""
        return self._figure("plot_slice", params=params, **which)

    def plot_contour(self, params: list[str] | None = None, **which: Any) -> Figure:
        """Return Optuna's figure of the objective by pairs of parameters; see `plot_optimization_history`."""
        return self._figure("plot_contour", params=params, **which)

    def plot_parallel_coordinate(self, params: list[str] | None = None, **which: Any) -> Figure:
        """Return Optuna's figure of trials as lines; see `plot_optimization_history`."""
        return self._figure("plot_parallel_coordinate", params=params, **which)

    def plot_intermediate_values(self, **which: Any) -> Figure:
        """Return Optuna's figure of what trials reported; see `plot_optimization_history`."""
        return self._figure("plot_intermediate_values", **which)

    def plot_pareto_front(self, **which: Any) -> Figure:
        """Return Optuna's figure of several objectives; see `plot_optimization_history`."""
        return self._figure("plot_pareto_front", **which)

    def _figure(
        self,
        kind: str,
        *,
        objective: str | None = None,
        method: str | None = None,
        problem: str | None = None,
        **options: Any,
    ) -> Figure:
        from parsl_optuna.report.tables import maximised_of, objectives_of  # noqa: PLC0415
        from parsl_optuna.study.search.export import export  # noqa: PLC0415
        from parsl_optuna.study.search.figures import figure, memory  # noqa: PLC0415

        table, storage = self._table(), memory()
        rows = table.to_pandas().to_dict("records")
        rows = [row for row in rows if method in (None, row["method"]) and problem in (None, row["problem"])]
        names = export(
            rows, objectives_of(table), maximised_of(table), Path(self.spec.artifacts_dir), storage
        )
        if len(names) != 1:
            known = ", ".join(names) if names else "none; no trial has ended there"
            raise SpecError(f"{kind}: name one study by method=… and problem=…; these are left: {known}")
        return figure(kind, storage, names[0], objectives_of(table), objective, **options)


def _plain(value: Any) -> Any:
    """Return Python's own numbers and lists for those of numpy, as a configuration file would have them."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [_plain(one) for one in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _check_arguments(function: Callable[..., Any], space: Mapping[str, Any]) -> None:
    """Refuse a function of Optuna's form, which asks its one argument for hyperparameters."""
    if not inspect.isfunction(function) or "trial" in space:
        return
    if list(inspect.signature(function).parameters) == ["trial"]:
        raise SpecError(
            f"{_WHERE}: '{function.__name__}' takes a trial, as for Optuna; here the hyperparameters are the "
            "arguments, as in def objective(x): …, and their ranges are the argument space"
        )


def _place(function: Callable[..., Any], folder: Path) -> str:
    """Return ``FILE:NAME`` of a function; one without a file gets one in *folder*."""
    name = getattr(function, "__name__", "")
    if not inspect.isfunction(function) or not name.isidentifier():
        raise SpecError(f"{_WHERE}: the objective must be a function with a name, got {function!r}")
    path = Path(inspect.getsourcefile(function) or "")
    is_top_level = function.__qualname__ == name
    if is_top_level and path.suffix == ".py" and path.is_file() and not _is_typed(function):
        _check_values(function, path)
        return f"{relative(path)}:{name}"
    try:
        text = inspect.getsource(function)
    except OSError as error:  # of `python -c`, or typed where no text is kept
        raise SpecError(
            f"{_WHERE}: the source of '{name}' is not kept by this session; put it into a file or a notebook"
        ) from error
    used = inspect.getclosurevars(function)
    outside = [*used.nonlocals, *(one for one in used.globals if not one.startswith("__"))]
    if outside:
        raise SpecError(
            f"{_WHERE}: '{name}' uses '{outside[0]}' from outside, which workers do not have; define or "
            "import it inside of the function, or put both into a file"
        )
    target = folder / f"{name}.py"
    write_bytes(target, textwrap.dedent(text).encode())
    return f"{target}:{name}"


def _check_values(function: Callable[..., Any], path: Path) -> None:
    """Refuse a function that uses what its file holds only here, and not where a worker imports it."""
    name, is_main = function.__name__, function.__module__ == "__main__"
    try:
        with tokenize.open(path) as stream:  # in the encoding that the file names
            text = stream.read()
        what = differing(text, name, is_main=is_main, has_arguments=len(sys.argv) > 1)
    except (SyntaxError, ValueError):
        return  # said where the signature is read
    if what is not None:
        raise SpecError(
            f"{_WHERE}: '{name}' {what}; workers only import {path.name}, and would take another value: make "
            "it an argument of the function, and give it a value in space"
        )


def _is_typed(function: Callable[..., Any]) -> bool:
    """Whether a function was typed into a notebook or a prompt: its module has no file of its own."""
    module = inspect.getmodule(function)
    return module is None or getattr(module, "__file__", None) is None
