"""``parsl-llc``: given samplers with fixed hyperparameters over given problems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parsl_optuna import __version__
from parsl_optuna.api import session
from parsl_optuna.cli import options
from parsl_optuna.cli.run import carry_out
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.records import Outcome, State
from parsl_optuna.core.space import Scalar
from parsl_optuna.core.spec import FixedSpec
from parsl_optuna.store import document
from parsl_optuna.store.layout import Results
from parsl_optuna.study.plan.fixed import load_fixed, plan_fixed

if TYPE_CHECKING:
    from parsl_optuna.study.driver import RunResult
    from parsl_optuna.study.plan.plans import RunPlan


@click.command("parsl-llc", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="parsl-llc")
@options.config
@options.assignments
@options.backend
@click.option("--budget", type=float, help="Seconds per run.")
@options.artifacts_dir
@options.results_dir
def command(
    config: Path,
    assignments: tuple[str, ...],
    local: bool,
    parsl_config: str | None,
    inline: bool,
    budget: float | None,
    artifacts_dir: str | None,
    results_dir: str | None,
) -> int:
    """Run samplers with fixed hyperparameters over problems, and write one table.

    Hyperparameters come from the samplers' presets, from 'overrides', or from a tuning result
    ('best_from: RESULTS'). Running the same command again repeats nothing.
    """
    spec = load_fixed(config, assignments)
    if budget is not None:
        spec = replace(spec, budget_sec=budget)
    spec = options.with_folders(spec, artifacts_dir, results_dir, parsl_config)
    plan = plan_fixed(spec, str(config), _tuned(spec, str(config)))
    results = Results(Path(spec.results_dir), "llc_runs")
    return carry_out(spec, plan, results, _report, local=local, inline=inline, is_strict=True)


def _report(plan: RunPlan, result: RunResult, results: Results) -> None:
    del plan
    for pid, reason in result.failures.items():
        session.warn(f"{pid}: {reason}")
    for trials in result.studies:
        for entry in trials.ended.values():
            click.echo(line_of(trials.study.label, entry.manifest.method, entry.outcome))
    click.echo(f"table  {results.table}")


def line_of(label: str, method: str, outcome: Outcome) -> str:
    """Return one line on a trial: estimate, error, known bias and status, or why it has none."""
    if outcome.state is not State.OK:
        return f"{label:24} {method:6} {outcome.state}: {outcome.reason}"
    value, error = outcome.metrics.get("llc_hat"), outcome.metrics.get("se_hat")
    estimate = f"{value:.4f} ± {error:.4f}" if value is not None and error is not None else f"{value}"
    if bias := outcome.metrics.get("bias"):
        estimate += f", bias about {bias:.2g}"
    return f"{label:24} {method:6} {estimate}  {outcome.metrics.get('status')}"


def _tuned(spec: FixedSpec, where: str) -> dict[tuple[str, str, str], Mapping[str, Scalar]]:
    """Read the best points of every tuning result that the samplers name."""
    found = {}
    for index, sampler in enumerate(spec.samplers):
        if sampler.best_from is None:
            continue
        path = Results(Path(sampler.best_from)).best
        data = document.read(path)
        if data is None:
            raise SpecError(f"{where} $.samplers[{index}].best_from: {path} is missing; tune first")
        for point in data["studies"]:
            for pid in point.get("pids", [point["pid"]]):
                found[(sampler.best_from, pid, point["method"])] = point["hyperparams"]
    return found
