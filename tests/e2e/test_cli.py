"""The commands on the toy task: what a person types, and what comes back."""

import json
import shutil

import pandas as pd
import pytest
import yaml

from tests.e2e.command import ROOT, run, write_config


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run in a folder with its configuration."""
    folder = tmp_path_factory.mktemp("done")
    config = write_config(folder, problems=[{"truth": 1.0}, {"truth": 2.0}], methods=["guess", "other"])
    out, _ = run("parsl-optuna", "--config", config, "--inline")
    return folder, config, out


def table(folder):
    return pd.read_parquet(folder / "results" / "optuna_trials.parquet")


def test_a_run_leaves_what_the_contract_says(done):
    folder, _, out = done

    rows = table(folder)
    assert len(rows) == 20
    for name in (
        "pid",
        "method",
        "trial_id",
        "hyperparams",
        "objective",
        "error",
        "runtime_sec",
        "diagnostics",
    ):
        assert rows[name].notna().all()
    for pid, method, trial in rows[["pid", "method", "trial_id"]].itertuples(index=False):
        path = folder / "artifacts" / "runs" / pid / method / trial
        assert {entry.name for entry in path.iterdir()} == {"manifest.json", "metrics.json"}
        assert (folder / "artifacts" / "problems" / pid / "ref.json").exists()
        assert (folder / "results" / "studies" / "optuna_tests.toy.TASK" / f"{pid}:{method}.pkl").exists()
    assert "optuna_trials.parquet" in out
    assert (folder / "results" / "optuna_trials.png").exists()
    assert out.count("Best for") == 2


def test_the_same_command_again_repeats_nothing(done):
    folder, config, _ = done
    before = (folder / "results" / "optuna_trials.parquet").read_bytes()

    out, _ = run("parsl-optuna", "run", "--config", config, "--inline")

    assert "0 references and trials run" in out
    assert (folder / "results" / "optuna_trials.parquet").read_bytes() == before


def test_the_table_is_rebuilt_from_artifacts_alone(done, tmp_path):
    folder, _, _ = done

    run(
        "parsl-optuna", "collect", "--task", "tests.toy:TASK",
        "--artifacts-dir", folder / "artifacts", "--results-dir", tmp_path,
    )  # fmt: skip

    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "optuna_trials.parquet"), table(folder))


def test_options_win_over_the_file_and_the_file_over_defaults(tmp_path):
    config = write_config(tmp_path)

    run(
        "parsl-optuna", "--config", config, "--inline", "--max-trials", 3, "--batch-size", 1,
        "--hmc-budget", 11, "--method-budget", 12, "--results-dir", tmp_path / "else",
    )  # fmt: skip

    written = yaml.safe_load((tmp_path / "else" / "optuna_trials_config.yaml").read_text())
    assert written["optuna"]["max_trials"] == 3
    assert written["optuna"]["hmc_budget_sec"] == 11
    assert written["optuna"]["method_budget_sec"] == 12
    assert written["optuna"]["n_startup_trials"] == 3
    assert written["optuna"]["seed"] == 42
    assert len(pd.read_parquet(tmp_path / "else" / "optuna_trials.parquet")) == 3


def test_plan_says_what_would_run_and_writes_nothing(done, tmp_path):
    _, config, _ = done

    out, _ = run("parsl-optuna", "plan", "--config", config)
    fresh, _ = run("parsl-optuna", "plan", "--config", config, "--artifacts-dir", tmp_path / "no", "--json")

    assert "22 there already, 0 to run" in out
    assert sum(line["missing"] for line in json.loads(fresh)) == 22
    assert not (tmp_path / "no").exists()


def test_plan_predicts_for_numbers_of_workers_and_writes_nothing(done, tmp_path):
    _, config, _ = done
    more = ("plan", "--config", config, "--max-trials", 9, "--workers", 1, "--workers", 4)

    out, _ = run("parsl-optuna", *more)
    data, _ = run("parsl-optuna", *more, "--artifacts-dir", tmp_path / "no", "--json")
    done_already, _ = run("parsl-optuna", "plan", "--config", config, "--workers", 2)

    assert "1 worker: " in out
    assert "4 workers: " in out
    assert "(100% of the times measured" in out
    one, four = json.loads(data)["predictions"]
    assert one["trials"] == four["trials"] > 22
    assert one["measured"] == 0.0
    assert 1.5 * four["makespan_sec"] < one["makespan_sec"] <= 4.01 * four["makespan_sec"]
    assert "2 workers: 0 s" in done_already
    assert not (tmp_path / "no").exists()


def test_status_counts(done):
    folder, _, _ = done

    out, _ = run("parsl-optuna", "status", "--artifacts-dir", folder / "artifacts")
    data, _ = run("parsl-optuna", "status", "--artifacts-dir", folder / "artifacts", "--json")

    assert out.count("5 ok") == 4
    assert out.count("reference ok") == 2
    assert sum(line["states"].get("ok", 0) for line in json.loads(data) if line["method"]) == 22


def test_best_show_and_trial_lead_to_one_trial(done):
    folder, _, _ = done
    artifacts = folder / "artifacts"

    best, _ = run("parsl-optuna", "best", "--results-dir", folder / "results", "--json")
    point = json.loads(best)[0]
    shown, _ = run("parsl-optuna", "show", point["trial_id"], "--artifacts-dir", artifacts)
    problem, _ = run("parsl-optuna", "show", point["pid"], "--artifacts-dir", artifacts)
    manifest = artifacts / "runs" / point["pid"] / point["method"] / point["trial_id"] / "manifest.json"
    stored, _ = run("parsl-optuna", "trial", manifest, "--json")
    again, _ = run("parsl-optuna", "trial", manifest, "--again")

    assert json.loads(shown)["metrics"]["trial_id"] == point["trial_id"]
    assert json.loads(problem)["reference"]["status"] == "ok"
    assert json.loads(stored)["trial_id"] == point["trial_id"]
    assert "objective" not in json.loads(stored)  # it is in the table and in best.json
    assert "agrees       True" in again


def test_tasks_lists_methods_and_spaces():
    out, _ = run("parsl-optuna", "tasks")

    for word in ("llc", "sgld", "vi", "mclmc", "hmc", "eta0", "log"):
        assert word in out


def test_help_is_there_for_every_command():
    out, _ = run("parsl-optuna", "--help")

    names = ("run", "plan", "status", "best", "show", "trial", "tasks", "collect")
    assert all(f"  {name} " in out for name in names)
    for name in names:
        assert "Usage" in run("parsl-optuna", name, "--help")[0]
    assert "Usage" in run("parsl-llc", "--help")[0]


def test_a_study_with_failures_only_is_said_and_leaves_1(tmp_path):
    config = write_config(tmp_path, problems=[{"truth": 1.0, "trouble": "all"}])

    _, err = run("parsl-optuna", "--config", config, "--inline", code=1)

    assert "ValueError: x is too large" in err
    assert set(table(tmp_path)["state"]) == {"failed"}


def test_an_untrusted_reference_is_said(tmp_path):
    config = write_config(tmp_path, problems=[{"truth": 1.0, "trouble": "distrust"}])

    _, err = run("parsl-optuna", "--config", config, "--inline")

    assert "not to be trusted, not_converged: R-hat 9" in err
    assert set(table(tmp_path)["reference_status"]) == {"not_converged"}


def test_a_task_may_lie_in_the_folder_of_the_command(tmp_path):
    source = (ROOT / "tests" / "toy.py").read_text().replace("tests.toy:TASK", "mine:TASK")
    (tmp_path / "mine.py").write_text(source)
    config = write_config(tmp_path, task="mine:TASK")

    run("parsl-optuna", "--config", config.name, "--local", cwd=tmp_path)

    assert set(table(tmp_path)["state"]) == {"ok"}


def test_local_workers_are_processes_with_one_thread_and_the_table_is_that_of_one_process(tmp_path):
    for name, flag in (("a", "--local"), ("b", "--inline")):
        (tmp_path / name).mkdir()
        config = write_config(tmp_path / name, methods=["guess", "other"])
        run("parsl-optuna", "--config", config, flag, "--batch-size", 1)

    names = ["pid", "method", "trial_id", "trial_number", "objective", "state"]
    pd.testing.assert_frame_equal(table(tmp_path / "a")[names], table(tmp_path / "b")[names])
    worker = json.loads(next((tmp_path / "a").glob("artifacts/runs/*/guess/*/metrics.json")).read_text())[
        "worker"
    ]
    assert {"PARSL_WORKER_RANK", "PARSL_WORKER_BLOCK_ID"} <= worker.keys()


def test_a_table_of_another_configuration_is_not_replaced_without_a_word(tmp_path):
    config = write_config(tmp_path, problems=[{"truth": 1.0}, {"truth": 2.0}])
    run("parsl-optuna", "--config", config, "--inline")
    config = write_config(tmp_path, problems=[{"truth": 2.0}])

    out, err = run("parsl-optuna", "--config", config, "--inline")

    assert "optuna_trials.parquet had 5 trials of 1.0, guess, which this configuration does not have" in err
    assert "0 references and trials run by this command; for more, raise optuna.max_trials" in out


def test_status_does_not_count_the_copy_of_a_folder_of_trials(tmp_path):
    config = write_config(tmp_path, problems=[{"truth": 1.0}], methods=["guess"])
    run("parsl-optuna", "--config", config, "--inline", "--max-trials", "2")
    before, _ = run("parsl-optuna", "status", cwd=tmp_path)
    (problem,) = (tmp_path / "artifacts" / "runs").iterdir()
    shutil.copytree(problem / "guess", problem / "old_guess")

    after, _ = run("parsl-optuna", "status", cwd=tmp_path)

    assert "guess" in before
    assert after == before
