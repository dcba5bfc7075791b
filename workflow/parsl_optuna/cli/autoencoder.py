"""``parsl-autoencoder``: search over the hidden layers of an autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from parsl_optuna import __version__
from parsl_optuna.api import session
from parsl_optuna.cli.run import carry_out
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.ids import derive_seed
from parsl_optuna.core.objective import ERROR, Objective, Scoring
from parsl_optuna.core.resources import LimitsSpec
from parsl_optuna.core.space import Categorical, Space
from parsl_optuna.core.spec import FolderSpec
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.layout import Results
from parsl_optuna.study.plan.plans import Point, RunPlan, SearchSettings, StudyPlan
from parsl_optuna.study.plan.resolve import bind_problem
from parsl_optuna.tasks.autoencoder import TASK
from parsl_optuna.tasks.autoencoder.params import architectures

F = TypeVar("F", bound=Callable[..., Any])

_DEMO = "demo"
_MADE_UP = "The class periods are made up (--data_path demo): nothing below is an observation."
_PARAMS = ("latent_dim", "epochs", "batch_size", "initial_lr", "eta_min", "weight_decay", "dropout", "loss",
           "input_norm", "patience", "seed", "start_from", "device")  # fmt: skip
_SEED_OPTIONS: dict[str, dict[str, Any]] = {
    "latent_dim": {"type": int, "default": 3, "help": "Width of the code."},
    "hidden_dims_search": {"default": "16,32,64,128", "help": "Widths to try, separated by commas."},
    "max_layers": {"type": int, "default": 3, "help": "Largest number of hidden layers."},
    "epochs": {"type": int, "default": 20, "help": "Epochs per configuration."},
    "batch_size": {"type": int, "default": 32, "help": "Rows per training step."},
    "initial_lr": {"type": float, "default": 1e-3, "help": "Learning rate at the start."},
    "eta_min": {"type": float, "default": 1e-6, "help": "Learning rate at the end."},
    "data_path": {"default": "data/stains.csv",
                  "help": "CSV with the 24 COPUS columns in percent; 'demo': artificial data."},
    "device": {"default": "auto", "type": click.Choice(["auto", "cuda", "cpu"]), "help": "Device."},
    "output_dir": {"default": "output", "help": "Folder of the results."},
    "save_models": {"is_flag": True, "help": "Save the weights of the best model there."},
    "search": {"type": click.Choice(["grid", "tpe"]), "default": "grid", "help": "All, or Optuna."},
    "max_trials": {"type": int, "default": 50, "help": "Number of trials of --search tpe."},
    "batch_trials": {"type": int, "default": 32, "help": "Configurations in flight."},
    "split": {"type": click.Choice(["holdout", "validation", "folds"]), "default": "holdout",
              "help": "Rows that select the best model: test rows, validation rows, or folds."},
    "folds": {"type": int, "default": 5, "help": "Number of folds for --split folds."},
    "loss": {"type": click.Choice(["sparse", "masked"]), "default": "sparse", "help": "Training loss."},
    "input_norm": {"type": click.Choice(["layer", "none", "standardize"]), "default": "layer",
                   "help": "Normalisation of the input."},
    "dropout": {"type": float, "default": 0.1, "help": "Share of units that dropout sets to zero."},
    "weight_decay": {"type": float, "default": 1e-4, "help": "Weight decay of AdamW."},
    "patience": {"type": int, "default": None, "help": "Stop after this many epochs without improvement."},
    "prune": {"is_flag": True, "help": "Stop configurations early whose loss is worse than the median."},
    "start_from": {"default": None, "help": "Id of a trial from whose weights larger configurations start."},
    "ensemble": {"type": int, "default": 1, "help": "Also average this number of best models."},
    "seed": {"type": int, "default": 0, "help": "Seed of initial weights and of the order of rows."},
    "budget": {"type": float, "default": 3600.0, "help": "Seconds per configuration."},
    "artifacts_dir": {"default": "artifacts", "help": "Folder of the trials."},
}  # fmt: skip


def _options(function: F) -> F:
    """Add every option under its name with underscores and with hyphens."""
    for name, about in reversed(_SEED_OPTIONS.items()):
        names = [f"--{name}", f"--{name.replace('_', '-')}"] if "_" in name else [f"--{name}"]
        function = click.option(*names, name, show_default=about.get("default") is not None, **about)(
            function
        )
    return function


@click.command("parsl-autoencoder", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="parsl-autoencoder")
@_options
@click.option("--inline", is_flag=True, help="Run in this process, one by one.")
@click.option("--parsl-config", type=str, help="slurm, pbs or a Parsl file.  [default: local workers]")
def command(inline: bool, parsl_config: str | None, **given: Any) -> int:
    """Try hidden-layer architectures at a fixed width of the code, in parallel, and report the best.

    Running the same command again repeats nothing.
    """
    plan = _plan(given)
    if given["data_path"] == _DEMO:
        click.echo(_MADE_UP)
    study = plan.studies[0]
    click.echo(f"{study.max_trials} configurations")
    results = Results(Path(given["output_dir"]), f"hyperparam_trials_latent{given['latent_dim']}")
    spec = FolderSpec(given, given["artifacts_dir"], given["output_dir"], parsl_config)
    local = not inline and parsl_config is None
    report = partial(_report, given)
    return carry_out(spec, plan, results, report, local=local, inline=inline)


def _plan(given: dict[str, Any]) -> RunPlan:
    dims = _widths(given["hidden_dims_search"])
    if given["max_layers"] < 1:
        raise SpecError(f"--max_layers: {given['max_layers']} must be at least 1")
    raw = {name: given[name] for name in ("split", "folds")}
    if given["data_path"] != _DEMO:
        if not Path(given["data_path"]).is_file():
            raise SpecError(
                f"--data_path: no file '{given['data_path']}'; give a CSV with the 24 COPUS columns, "
                f"or --data_path {_DEMO} for made-up class periods"
            )
        raw["data_path"] = given["data_path"]
    label = "made-up class periods" if given["data_path"] == _DEMO else given["data_path"]
    problem = replace(bind_problem(TASK, raw, "--data_path"), label=label)
    texts = ["-".join(map(str, one)) for one in architectures(dims, given["max_layers"])]
    params = {name: given[name] for name in _PARAMS}
    complete = [
        TASK.complete(problem.problem, "autoencoder", params | {"hidden_dims": text}, "options")
        for text in texts
    ]
    study = StudyPlan(
        pid=problem.pid,
        label=label,
        method="autoencoder",
        base=complete[0],
        budget_sec=given["budget"],
        max_trials=len(texts),
        batch_size=given["batch_trials"],
        search=SearchSettings(
            seed=derive_seed("study", given["seed"], problem.pid, "autoencoder"),
            sampler="tpe" if given["search"] == "tpe" else "random",
            pruner="median" if given["prune"] else None,
        ),
        points=tuple(Point(one, 0) for one in complete),
    )
    if given["search"] == "tpe":
        space = Space({"hidden_dims": Categorical(tuple(texts))})
        count = min(given["max_trials"], len(texts))
        study = replace(study, space=space, max_trials=count, points=None)
    scoring = Scoring(Objective("metric", metric="selection_loss"), (ERROR, "model_params"))
    return RunPlan(TASK, (problem,), (study,), scoring, LimitsSpec())


def _widths(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise SpecError(
            f"--hidden_dims_search: '{text}' must be widths above 0, separated by commas, such as 16,32,64"
        )
    return [int(part) for part in parts]


def _report(given: dict[str, Any], plan: RunPlan, result: Any, results: Results) -> None:
    del plan
    from parsl_optuna.report import architectures as summary  # noqa: PLC0415
    from parsl_optuna.report import tables as aggregate  # noqa: PLC0415
    from parsl_optuna.report.plots import convergence  # noqa: PLC0415

    study = result.studies[0]
    store = ArtifactStore(Path(given["artifacts_dir"]))
    tested = summary.tested(study, store)
    for trial_id, reason in summary.failures(study):
        session.warn(f"{trial_id}: {reason}")
    if not tested:
        return
    made_up = given["data_path"] == _DEMO
    paths = summary.write(tested, Path(given["output_dir"]), given, made_up=made_up)
    convergence(aggregate.read(results.table).to_pandas(), results.picture)
    paths.append(("Convergence", results.picture))
    console = Console()
    if made_up:
        console.print(_MADE_UP, soft_wrap=True, highlight=False, markup=False)
    for line in summary.summary(tested, given, paths):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
