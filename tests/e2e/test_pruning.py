"""Pruning with real processes: hopeless trials stop early, are rows, and are not run again."""

import pandas as pd
import pytest

from tests.e2e.command import run, write_config

pytestmark = pytest.mark.system

POINTS = [{"x": x, "k": 1, "kind": "plain"} for x in (0.0, 0.1, 0.2, 1.5, 1.6, 1.7)]


def config_in(folder, sleep_sec, **pruner):
    folder.mkdir(exist_ok=True)
    log = folder / "log"
    return write_config(
        folder,
        problems=[{"truth": 1.0, "sleep_sec": sleep_sec, "trouble": "curve", "log": str(log)}],
        enqueue={"guess": POINTS},
        optuna={
            "max_trials": len(POINTS),
            "batch_size": 2,
            "confirm": 0,
            "method_budget_sec": 60,
            "objective": {"type": "metric", "metric": "value"},
            "pruner": pruner,
        },
    )


def table(folder):
    rows = pd.read_parquet(folder / "results" / "optuna_trials.parquet")
    return rows.assign(x=[point["x"] for point in rows["hyperparams"]]).sort_values("x")


@pytest.mark.parametrize(
    ("pruner", "where"),
    [
        ({"name": "median", "n_startup_trials": 2, "n_warmup_steps": 3}, "--local"),
        ({"name": "median", "n_startup_trials": 2, "n_warmup_steps": 3}, "--inline"),
        ({"name": "wandb_hyperband", "min_iter": 10}, "--local"),
    ],
    ids=["median", "median inline", "wandb_hyperband"],
)
def test_hopeless_trials_are_pruned_and_the_same_command_again_repeats_nothing(tmp_path, pruner, where):
    config = config_in(tmp_path / "run", 0.05, **pruner)
    run("parsl-optuna", "--config", config, where)

    rows = table(tmp_path / "run")
    states = dict(zip(rows.x, rows.state, strict=True))
    assert states[0.0] == "ok"
    assert {states[x] for x in (1.5, 1.6, 1.7)} == {"pruned"}
    pruned = rows[rows.x > 1.0]
    assert (pruned.runtime_sec < 2.0).all()
    assert pruned.reason.str.contains("stopped it at step|worse than").all()
    assert (pruned.objective > 3.0).all()

    log = (tmp_path / "run" / "log").read_text()
    before = (tmp_path / "run" / "results" / "optuna_trials.parquet").read_bytes()
    run("parsl-optuna", "--config", config, where)
    assert (tmp_path / "run" / "log").read_text() == log
    assert (tmp_path / "run" / "results" / "optuna_trials.parquet").read_bytes() == before


def test_without_the_pruner_what_it_gave_up_runs_to_its_end(tmp_path):
    config = config_in(tmp_path / "run", 0.04, name="threshold", upper=3.0)
    run("parsl-optuna", "--config", config, "--local")
    assert set(table(tmp_path / "run").state) == {"ok", "pruned"}

    run("parsl-optuna", "--config", config, "--local", "--set", "optuna.pruner=null")

    rows = table(tmp_path / "run")
    assert set(rows.state) == {"ok"}
    assert len(rows) == len(POINTS)
    assert rows.objective.max() > 3.0


def test_a_trial_that_is_busy_elsewhere_stops_within_a_second_of_the_decision(tmp_path):
    """Between reports it sleeps for a minute; the decision comes after its first report."""
    config = config_in(tmp_path / "run", 60.0, name="threshold", upper=0.5)
    run("parsl-optuna", "--config", config, "--local", code=1)

    rows = table(tmp_path / "run")
    assert set(rows.state) == {"pruned"}
    assert (rows.runtime_sec < 4.0).all()
