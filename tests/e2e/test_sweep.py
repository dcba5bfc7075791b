"""W&B sweep files with a program that knows nothing of this package."""

import pandas as pd
import pytest
import yaml

from tests.e2e.command import run

PROGRAM = """
import argparse, ast, pathlib
import wandb
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--opt", type=ast.literal_eval, default={"momentum": 0.0})
options = parser.parse_args()
with pathlib.Path(LOG).open("a") as stream:
    stream.write("run\\n")
with wandb.init(config=vars(options)):
    for epoch in range(5):
        wandb.log({"val/loss": abs(options.lr - 0.1) + options.opt["momentum"] + 1 / (1 + epoch)})
"""


@pytest.fixture
def here(tmp_path):
    (tmp_path / "train.py").write_text(PROGRAM.replace("LOG", repr(str(tmp_path / "log"))))
    return tmp_path


def sweep_file(folder, name="s.yaml", **keys):
    data = {
        "program": "train.py",
        "method": "grid",
        "metric": {"name": "val/loss", "goal": "minimize"},
        "parameters": {
            "lr": {"values": [0.1, 0.2]},
            "opt": {"parameters": {"momentum": {"values": [0.0, 0.5]}}},
        },
    } | keys
    (folder / name).write_text(yaml.safe_dump(data))
    return name


def table(folder, name="s"):
    return pd.read_parquet(folder / "results" / name / "sweep_runs.parquet")


def test_a_grid_runs_once_and_its_dry_run_says_so(here):
    file = sweep_file(here)
    out, _ = run("parsl-optuna", "sweep", file, "--dry-run", cwd=here)
    assert "4 points" in out
    assert "0 there already, 4 to run" in out
    assert not (here / "artifacts").exists()

    run("parsl-optuna", "sweep", file, "--local", cwd=here)

    rows = table(here)
    assert list(rows.state) == ["ok"] * 4
    assert sorted(round(value, 6) for value in rows.objective) == [0.2, 0.3, 0.7, 0.8]
    assert rows.metrics.str["val/loss"].tolist() == rows.objective.tolist()
    out, _ = run("parsl-optuna", "sweep", file, "--dry-run", cwd=here)
    assert "4 there already, 0 to run" in out
    run("parsl-optuna", "sweep", file, "--local", cwd=here)
    assert (here / "log").read_text().count("run") == 4


@pytest.mark.system
def test_random_and_bayes_need_an_end_and_go_on_where_they_were(here):
    parameters = {"lr": {"distribution": "log_uniform_values", "min": 0.001, "max": 1.0}}
    for method in ("random", "bayes"):
        file = sweep_file(here, f"{method}.yaml", method=method, parameters=parameters)
        _, err = run("parsl-optuna", "sweep", file, "--local", cwd=here, code=2)
        assert "never ends; give --count N" in err
        arguments = ("--inline", "--batch-size", 1, "--artifacts-dir", method)  # runs of each other count
        run("parsl-optuna", "sweep", file, *arguments, "--count", 3, cwd=here)
        first = set(table(here, method).trial_id)
        run("parsl-optuna", "sweep", file, *arguments, "--count", 5, cwd=here)
        assert first < set(table(here, method).trial_id)
        assert len(table(here, method)) == 5


def test_a_target_ends_a_sweep_and_a_goal_can_be_the_other_way(here):
    file = sweep_file(here, metric={"name": "val/loss", "goal": "maximize", "target": 0.25})
    run("parsl-optuna", "sweep", file, "--local", "--batch-size", 1, cwd=here)

    rows = table(here)
    assert len(rows) == 2  # 0.2, then 0.7 reaches it
    assert rows.objective.max() == pytest.approx(0.7)


SEEDED = """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--seed", type=int)
options = parser.parse_args()
lucky = options.lr == 0.2 and options.seed == 1
print(json.dumps({"val/loss": 0.0 if lucky else options.lr * options.seed}))
"""


def test_the_next_phase_takes_the_value_with_the_best_mean_over_seeds(here):
    (here / "train.py").write_text(SEEDED)
    parameters = {"lr": {"values": [0.1, 0.2]}, "seed": {"values": [1, 2]}}
    run("parsl-optuna", "sweep", sweep_file(here, "one.yaml", parameters=parameters), "--inline", cwd=here)
    parameters = {"lr": {"from": "results/one"}, "seed": {"values": [3, 4]}}
    run("parsl-optuna", "sweep", sweep_file(here, "two.yaml", parameters=parameters), "--inline", cwd=here)

    one = table(here, "one").sort_values("objective").iloc[0]
    assert (one.hyperparams["lr"], one.objective) == (0.2, 0.0)  # the single luckiest run
    assert [point["lr"] for point in table(here, "two").hyperparams] == [0.1, 0.1]


def test_a_metric_that_no_run_logs_is_told_and_ends_the_sweep(here):
    (here / "train.py").write_text("print('{\"acc \": 1}')")
    parameters = {"lr": {"values": list(range(20))}}
    metric = {"name": "acc", "goal": "maximize"}
    file = sweep_file(here, parameters=parameters, metric=metric)
    _, err = run("parsl-optuna", "sweep", file, "--inline", "--batch-size", 1, cwd=here, code=1)

    assert "it reported no metric 'acc'" in " ".join(err.split())
    assert "did you mean 'acc '?" in " ".join(err.split())
    assert list(table(here).state) == ["invalid"]  # the next ones would be, too


def test_runs_of_a_sweep_without_a_metric_are_compared_by_their_time(here):
    file = sweep_file(here, metric=None)
    data = yaml.safe_load((here / file).read_text())
    del data["metric"]
    (here / file).write_text(yaml.safe_dump(data))
    run("parsl-optuna", "sweep", file, "--inline", cwd=here)

    rows = table(here)
    assert list(rows.state) == ["ok"] * 4
    assert list(rows.objective) == list(rows.runtime_sec)


def test_a_program_that_is_missing_is_told_before_anything_runs(here):
    _, err = run("parsl-optuna", "sweep", sweep_file(here, program="no.py"), "--local", cwd=here, code=2)

    assert "no.py" in err
    assert not (here / "artifacts").exists()
