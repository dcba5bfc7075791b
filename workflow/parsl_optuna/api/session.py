"""One run from plan to files, for the commands that run something."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from parsl_optuna import __version__
from parsl_optuna.api import changes
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.load import dump_yaml
from parsl_optuna.core.processes import drop_in_forks
from parsl_optuna.execution.backend import Executor
from parsl_optuna.report.live import Progress
from parsl_optuna.report.progress_file import ProgressFile
from parsl_optuna.store import document
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.atomic import write_bytes
from parsl_optuna.store.events import EventLog, Kind
from parsl_optuna.store.layout import Results, check_apart
from parsl_optuna.store.lease import Lease

if TYPE_CHECKING:
    from parsl_optuna.core.ended import Ended
    from parsl_optuna.core.spec import FixedSpec, FolderSpec, RunSpec, SweepSpec
    from parsl_optuna.report.interactive.live import LivePage
    from parsl_optuna.study.driver import Driver, RunResult
    from parsl_optuna.study.plan.plans import RunPlan
    from parsl_optuna.study.progress import Snapshot

    AnySpec = RunSpec | FixedSpec | SweepSpec | FolderSpec


def choose_executor(
    spec: AnySpec, longest_sec: float, events: EventLog, *, local: bool, inline: bool
) -> Executor:
    """Return the backend that the options ask for; nothing is started yet.

    Args:
        spec: The configuration; its ``parsl_config`` counts unless an option says otherwise.
        longest_sec: How long a trial may take, all in all.
        events: Where blocks are recorded.
        local: Whether ``--local`` is given.
        inline: Whether ``--inline`` is given.

    Raises:
        SpecError: None or several are asked for, or the Parsl file is no good.
    """
    if local + inline + (spec.parsl_config is not None and not (local or inline)) != 1:
        raise SpecError("where should trials run? give one of --local, --parsl-config FILE, --inline")
    if inline:
        from parsl_optuna.execution.inline import InlineExecutor  # noqa: PLC0415

        return InlineExecutor()
    from parsl_optuna.execution import apps, configs  # noqa: PLC0415

    name = "local" if local else str(spec.parsl_config)
    cluster = configs.for_trials(name, spec.cluster, longest_sec)
    run_dir = Path(spec.results_dir).absolute() / "runinfo"
    # A mistake in a file is reported before anything is written.
    source = configs.ConfigSource(name, cluster, run_dir, spec.executor, longest_sec)
    return apps.ParslExecutor(source, events, spec.executor, run_dir)


def longest_sec(plan: RunPlan) -> float:
    """Return how long a reference or trial of *plan* may take, its grace included."""
    budgets = [study.budget_sec for study in plan.studies]
    budgets += [problem.reference.budget_sec for problem in plan.problems if problem.reference]
    return max(budgets) + plan.limits.grace_sec


def _nothing_more(result: RunResult) -> None:
    """Report nothing."""


def carry_out(
    spec: AnySpec,
    plan: RunPlan,
    results: Results,
    *,
    local: bool,
    inline: bool,
    report: Callable[[RunResult], object] = _nothing_more,
) -> RunResult:
    """Run a plan where the options say and write its table, as the only driver of these results.

    Args:
        spec: The configuration, written beside the results.
        plan: The plan made from it.
        results: Where the results go.
        local: Whether ``--local`` is given.
        inline: Whether ``--inline`` is given.
        report: What else to write while the results are held.
    """
    store = ArtifactStore(Path(spec.artifacts_dir))
    events = EventLog(results.events)
    executor = choose_executor(spec, longest_sec(plan), events, local=local, inline=inline)
    check_apart(store.paths.root, results.root)
    store.check_writable()
    for note in plan.notes:
        warn(note)
    from parsl_optuna.report.best import best_points  # noqa: PLC0415
    from parsl_optuna.report.interactive.live import LivePage  # noqa: PLC0415

    with Lease(results.lease), _recorded(events):
        former, written = changes.former_space(results), asdict(spec)
        write_config(written, results)
        page = LivePage(plan, store.paths, results)
        result = run_plan(plan, store, executor, events, page)
        save(plan, result, results)
        ended, space = _ended(result), written.get("search_space")
        for line in [
            *changes.other_code(ended),
            *changes.other_space(former, space, result.n_started, len(ended)),
        ]:
            warn(line)
        page.close(ended, best_points(result))
        report(result)
    return result


@contextmanager
def _recorded(events: EventLog) -> Iterator[None]:
    """Record that a command started, and how it ended."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    host, process = socket.gethostname(), os.getpid()
    events.add(
        Kind.COMMAND_STARTED, command=shlex.join(words), host=host, process=process, version=__version__
    )
    how = "interrupted"
    try:
        yield
        how = "done"
    except Exception as error:
        how = f"{type(error).__name__}: {error}"
        raise
    finally:
        events.add(Kind.COMMAND_ENDED, process=process, how=how)
        events.close()


def run_plan(
    plan: RunPlan, store: ArtifactStore, executor: Executor, events: EventLog, page: LivePage
) -> RunResult:
    """Drive a plan to its end, with progress on stderr and on a page.

    The first Ctrl-C lets what runs finish, the second one leaves at once.
    """
    from parsl_optuna.study.driver import Driver  # noqa: PLC0415  Optuna is not needed for --help

    verbose = logging.getLogger("parsl_optuna").isEnabledFor(logging.INFO)
    file = ProgressFile(page.results.progress)
    with Progress(Console(stderr=True), plain=verbose) as progress:

        def observe(snapshot: Snapshot) -> None:
            progress.show(snapshot)
            file.show(snapshot)
            page.show(snapshot, driver.ended())

        driver = Driver(plan, store, executor, observe, events=events)
        restore = _on_interrupt(driver)
        try:
            return driver.run()
        finally:
            file.close()
            executor.close()
            restore()


def save(plan: RunPlan, result: RunResult, results: Results) -> None:
    """Write the table of all ended trials."""
    from parsl_optuna.report import tables as aggregate  # noqa: PLC0415

    for line in changes.left_out(plan, result, results.table):
        warn(line)
    aggregate.write(aggregate.table(_ended(result), plan.task), results.table)


def _ended(result: RunResult) -> list[Ended]:
    return [ended for trials in result.studies for ended in trials.runs.values()]


def write_summary(plan: RunPlan, result: RunResult, results: Results) -> tuple[list[dict[str, Any]], Any]:
    """Write the best points, the picture and the pickled studies of a run.

    Returns:
        The best points as plain data, and the table as a pandas data frame.
    """
    from parsl_optuna.report.best import best_points  # noqa: PLC0415
    from parsl_optuna.report.tables import read  # noqa: PLC0415

    points = best_points(result)
    document.write(results.best, {"studies": points})
    rows = read(results.table).to_pandas()
    if result.n_started or not results.picture.exists():
        from parsl_optuna.report.plots import convergence  # noqa: PLC0415

        first = plan.scoring.names[0]
        convergence(rows, results.picture, maximised=plan.scoring.is_maximised(first))
        for active in result.studies:
            if active.search is not None:
                path = results.study(plan.task.name, active.study.pid, active.study.method)
                write_bytes(path, active.search.pickled())
    return points, rows


def write_config(data: Mapping[str, Any], results: Results) -> None:
    """Write the resolved configuration beside the results."""
    write_bytes(results.config, dump_yaml(data).encode())


def warn(text: str) -> None:
    """Print a warning on stderr."""
    _say(f"warning: {text}")


def _say(text: str) -> None:
    Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


def _on_interrupt(driver: Driver) -> Callable[[], None]:
    """Drain on the first Ctrl-C, leave on the second and on SIGTERM; return a function that undoes this.

    Once it leaves, more signals change nothing: batch systems send several, blocks have to be given back, and
    the record has to be closed. That is not undone: a process that goes on afterwards has `kept_signals`.
    """
    is_leaving = False

    def leave(number: int, frame: FrameType | None) -> None:
        nonlocal is_leaving
        del number, frame
        is_leaving = True
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    def drain(number: int, frame: FrameType | None) -> None:
        del number, frame
        signal.signal(signal.SIGINT, leave)
        driver.stop()
        _say("Stopping: waiting for running trials. Press Ctrl-C again to quit now.")

    former = {
        signal.SIGINT: signal.signal(signal.SIGINT, drain),
        signal.SIGTERM: signal.signal(signal.SIGTERM, leave),
    }
    drop_in_forks({signal.SIGTERM: leave})  # of tasks that run inline

    def restore() -> None:
        for number, handler in former.items() if not is_leaving else ():
            signal.signal(number, handler)

    return restore


@contextmanager
def kept_signals() -> Iterator[None]:
    """Leave the handlers of SIGINT and SIGTERM as they were, for a process that goes on after a run."""
    former = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
