"""``parsl-optuna estimate``: estimate the local learning coefficient of a problem, with nothing to tune."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from parsl_optuna.cli import options
from parsl_optuna.core.clock import utc_now
from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.load import assign, read_yaml
from parsl_optuna.core.records import Asked, Manifest, Request
from parsl_optuna.report.live import duration
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.atomic import write_bytes
from parsl_optuna.store.layout import Results
from parsl_optuna.store.progress import reports
from parsl_optuna.study.plan.resolve import ProblemPlan, bind_problem
from parsl_optuna.tasks.base import Task, resolve_task

_METHOD = "auto"


@click.command("estimate")
@click.option(
    "--problem",
    "source",
    metavar="FILE|PRESET",
    help="YAML file with one problem or a list 'problems', or the name of a model preset.",
)
@click.option(
    "--checkpoints", metavar="FOLDER", help="Files of torch.save: the LLC along a training run, on workers."
)
@click.option(
    "--model",
    metavar="FILE.py:NAME",
    help="With --checkpoints: a function without arguments that returns model, loss and data.",
)
@click.option(
    "--gamma", type=float, help="With --checkpoints: precision of the localization prior, 1 unless given."
)
@click.option(
    "--device",
    metavar="cpu|cuda|mps",
    help="Where to compute; chains are spread over several, as cuda:0,cuda:1. Without it, on the CPU, or "
    "where the function of --model leaves its model.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key of the problem, e.g. overrides.data.n_data=1000.",
)
@click.option(
    "--kernel",
    default="langevin",
    show_default=True,
    help="langevin, hmc or nuts (both exact), sgld (minibatches), laplace or smc (no chains).",
)
@click.option("--error", "relative_error", default=0.005, show_default=True, help="Standard error over LLC.")
@click.option("--budget", default=60.0, show_default=True, help="Seconds per problem or checkpoint.")
@click.option("--seed", default=0, show_default=True, help="Replicate number.")
@click.option("--inline", is_flag=True, help="With --checkpoints: run in this process, one by one.")
@click.option(
    "--parsl-config",
    metavar="FILE",
    help="With --checkpoints: Parsl's configuration.  [default: local workers]",
)
@options.artifacts_dir
@options.results_dir
@options.as_json
def command(
    kernel: str,
    relative_error: float,
    inline: bool,
    parsl_config: str | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Estimate the local learning coefficient; step size, burn-in and length are chosen automatically.

    A problem runs in this process until the standard error is small enough or the budget is used up;
    checkpoints of a model of your own are trials of a study. The same command again reads stored
    results. Exits with 1 unless every status is ok.
    """
    if not given["budget"] > 0:
        raise SpecError(f"--budget {given['budget']} must be above 0")
    given["artifacts_dir"], given["results_dir"] = (
        given[name] or name.removesuffix("_dir") for name in ("artifacts_dir", "results_dir")
    )
    asked = {"kernel": kernel, "relative_error": relative_error}
    if (given["source"] is None) == (given["checkpoints"] is None):
        raise SpecError("give either --problem FILE|PRESET or --checkpoints FOLDER --model FILE.py:NAME")
    if given["checkpoints"] is None:
        unused = [name for name in ("model", "gamma") if given[name] is not None]
        unused += ["inline"] * inline + ["parsl-config"] * (parsl_config is not None)
        if unused:
            raise SpecError(f"--{unused[0]}: goes with --checkpoints; set keys of a problem with --set")
        return _estimate_problems(given, asked, as_json=as_json)
    if given["model"] is None or given["assignments"]:
        wrong = (
            "--set: goes with --problem"
            if given["assignments"]
            else "--checkpoints: give --model FILE.py:NAME"
        )
        raise SpecError(wrong)
    from parsl_optuna.cli import along  # noqa: PLC0415

    asked |= {name: given[name] for name in ("gamma", "device") if given[name] is not None}
    return along.estimate(given, asked, inline=inline, parsl_config=parsl_config, as_json=as_json)


def _estimate_problems(given: Mapping[str, Any], asked: Mapping[str, Any], *, as_json: bool) -> int:
    from parsl_optuna.worker import execute as worker  # noqa: PLC0415

    task = resolve_task("llc")
    store, results = ArtifactStore(Path(given["artifacts_dir"])), Results(Path(given["results_dir"]))
    store.check_writable()
    problems = [
        bind_problem(task, raw if given["device"] is None else raw | {"device": given["device"]}, where)
        for raw, where in _problems(given["source"], given["assignments"])
    ]
    _check_devices(problems)
    params, seed, budget = task.complete({}, _METHOD, asked, "estimate"), given["seed"], given["budget"]
    outcomes = []
    for problem in problems:
        manifest = Manifest(task.name, task.version, "trial", problem.pid, _METHOD, params, seed, budget)
        _announce(store, task, problem, manifest)
        names = (manifest.pid, _METHOD, manifest.trial_id)
        with _progress(store.paths.progress(*names), problem.label):
            outcome = worker.execute(Request(str(store.paths.root), *names))
        outcome = outcome["metrics"] | outcome
        picture = results.root / f"estimate_{manifest.trial_id}.png"
        drawn = _draw(store.paths.files(*names) / "trace.npz", outcome, picture)
        outcomes.append(outcome | {"problem": problem.label, "picture": str(picture) if drawn else None})
        if not as_json:
            _tell(outcomes[-1])
    if as_json:
        click.echo(json.dumps(outcomes, indent=2))
    return 0 if all(outcome.get("status") == "ok" for outcome in outcomes) else 1


def _check_devices(problems: list[ProblemPlan]) -> None:
    """Raise `SpecError` where this machine lacks a device, before anything is written."""
    for problem in problems:
        if "device" in problem.problem:
            from parsl_optuna.kernels.device import devices_named  # noqa: PLC0415

            devices_named(str(problem.problem["device"]))


def _problems(source: str, assignments: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield problems as written, each with its place."""
    from parsl_optuna.tasks.llc.problem.spec import preset_names  # noqa: PLC0415

    if source in preset_names("model"):
        found: list[tuple[Any, str]] = [({"model": source}, f"--problem {source}")]
    elif Path(source).is_file():
        data = read_yaml(Path(source))
        listed = data.get("problems", [data])
        if not isinstance(listed, list) or not listed:
            raise SpecError(f"{source} $.problems: must be a list of at least one problem")
        found = [(raw, f"{source} $.problems[{index}]") for index, raw in enumerate(listed)]
    else:
        hint = nearest(source, preset_names("model"))
        raise SpecError(f"--problem {source}: neither a file nor a preset; {hint}")
    for raw, where in found:
        if not isinstance(raw, Mapping):
            raise SpecError(f"{where}: must be a mapping, got {raw!r}")
        problem = dict(raw)
        for text in assignments:
            assign(problem, text)
        yield problem, where


def _announce(store: ArtifactStore, task: Task, problem: ProblemPlan, manifest: Manifest) -> None:
    store.put_problem(task.name, task.version, problem.problem, problem.label)
    store.put_manifest(manifest, Asked(None, utc_now(), "fixed"))


@contextmanager
def _progress(path: Path, label: str) -> Iterator[None]:
    """Show the running estimate on a terminal."""
    console, ended = Console(stderr=True), threading.Event()
    if not console.is_terminal:
        yield
        return
    with console.status(f"{label}: preparing and warming up") as status:

        def follow() -> None:
            while not ended.wait(0.5):
                reported = reports(path) if path.exists() else []
                if reported:
                    now = reported[-1].metrics
                    status.update(f"{label}: LLC {now['llc_hat']:.4g} after {now['draws']} draws per chain")

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _draw(trace: Path, outcome: Mapping[str, Any], picture: Path) -> bool:
    """Draw the picture of an estimate; return whether there was something to draw."""
    if not trace.exists() or outcome.get("llc_hat") is None:
        return False
    import numpy as np  # noqa: PLC0415

    from parsl_optuna.report.plots import estimate_picture  # noqa: PLC0415

    with np.load(trace, allow_pickle=False) as arrays:
        excess, controlled, distance = (arrays[name] for name in ("excess", "controlled", "distance"))
    drawn = estimate_picture(excess, controlled, distance, outcome["llc_hat"], outcome["se_hat"] or 0.0)
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(picture, drawn)
    return True


_CHECKS = (
    ("rhat", "R-hat", ".3f"),
    ("ess", "ESS", ".0f"),
    ("virial_ratio", "virial/dim", ".3f"),
    ("variance_over_mean", "variance/mean", ".2f"),
    ("khat", "k-hat", ".2f"),
    ("normal_llc", "normal approximation", ".4g"),
    ("prior_draws_worth", "draws of the prior worth", ".0f"),
)
"""Diagnostics that are printed: name, label, format."""


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _tell(outcome: Mapping[str, Any]) -> None:
    name = outcome["problem"]
    if outcome.get("llc_hat") is None:
        click.echo(f"{name}: {outcome['state']}: {outcome['reason']}")
        return
    error = "" if outcome["se_hat"] is None else f" ± {outcome['se_hat']:.2g}"
    if outcome.get("bias") is None and "khat" in outcome["diagnostics"]:
        error = " ± ?"  # of a fit that is too poor: nobody knows how far it is off
    click.echo(f"{name}: LLC {outcome['llc_hat']:.5g}{error} in {duration(outcome['runtime_sec'])}")
    reason = outcome.get("status_reason")
    click.echo(f"  status   {outcome['status']}" + (f": {reason}" if reason else ""))
    seen = outcome["diagnostics"]
    shown = [f"{label} {seen[name]:{form}}" for name, label, form in _CHECKS if _is_known(seen.get(name))]
    if shown:
        click.echo(f"  checks   {' · '.join(shown)}")
    if _is_known(bias := outcome.get("bias")) and bias:
        click.echo(f"  bias     about {bias:.2g}, which the standard error does not contain")
    if seen.get("control_gain", 1.0) > 1.0:
        click.echo(f"  controls worth {seen['control_gain']:.3g} times as many draws")
    click.echo(f"  trial    {outcome['pid']} {outcome['trial_id']}")
    if outcome["picture"]:
        click.echo(f"  picture  {outcome['picture']}")
