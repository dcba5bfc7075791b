"""What happened is on record, failed trials run again, faults of the engine are told: as a user sees them."""

import json
import shlex

import pandas as pd
import pytest

from tests.e2e.command import run, write_config


@pytest.fixture
def failing(tmp_path):
    """Return the configuration of a run in which some trials failed, and what it printed on stderr."""
    config = write_config(
        tmp_path,
        problems=[{"truth": 1.0, "trouble": "some"}],
        optuna={"max_trials": 8, "batch_size": 2, "confirm": 0, "stop_after_failures": 0},
    )
    _, err = run("parsl-optuna", "--config", config, "--inline")
    return config, err


def where(config, *names):
    folders = {"artifacts": "--artifacts-dir", "results": "--results-dir"}
    return [word for name in names for word in (folders[name], config.parent / name)]


def test_failures_are_counted_by_reason_and_run_again_on_request(failing):
    config, err = failing
    assert "failed: ValueError: x is too large" in err
    hint = next(line for line in err.splitlines() if "to run them again" in line)
    pasted = shlex.split(hint.partition(": parsl-optuna ")[2].partition(", then the same command")[0])

    listed, _ = run("parsl-optuna", "retry", "--dry-run", "--json", *where(config, "artifacts", "results"))
    out, _ = run("parsl-optuna", *pasted)
    again, _ = run("parsl-optuna", "--config", config, "--inline")

    count = len(json.loads(listed))
    assert f"{count} failed: they run again" in out
    assert f"{count} references and trials run" in again


def test_the_log_tells_the_life_of_a_trial(failing):
    config, _ = failing

    out, _ = run("parsl-optuna", "log", "--json", *where(config, "results"))
    events = [json.loads(line) for line in out.splitlines()]
    assert events[0]["event"] == "command_started"
    assert events[-1]["event"] == "command_ended"
    trial_id = next(event["trial_id"] for event in events if event.get("state") == "failed")
    out, _ = run("parsl-optuna", "log", "--trial", trial_id, *where(config, "results"))

    assert [line.split("  ")[1] for line in out.splitlines()] == ["asked", "queued", "started", "ended"]
    assert 'reason="ValueError: x is too large"' in out
    times = [line.split("  ")[0] for line in out.splitlines()]
    assert times == sorted(times)


def test_nothing_depends_on_the_record(failing):
    config, _ = failing
    (config.parent / "results" / "events.jsonl").unlink()

    out, _ = run("parsl-optuna", "--config", config, "--inline")

    assert "0 references and trials run" in out
    run("parsl-optuna", "log", "--results-dir", config.parent / "elsewhere", code=2)


def test_verbose_tells_on_stderr_what_happens(tmp_path):
    _, err = run("parsl-optuna", "--config", write_config(tmp_path), "--inline", "-v")

    assert err.count("INFO asked") == 6  # five trials and their reference
    assert "INFO command ended" in err


def test_a_trial_that_is_run_by_hand_has_its_objective_in_the_table(tmp_path):
    config = write_config(tmp_path)
    run("parsl-optuna", "--config", config, "--inline")
    table = tmp_path / "results" / "optuna_trials.parquet"
    before = pd.read_parquet(table).set_index("trial_id")
    victim = before.index[0]
    (folder,) = (tmp_path / "artifacts" / "runs").glob(f"*/*/{victim}")
    (folder / "metrics.json").unlink()

    run("parsl-optuna", "trial", folder / "manifest.json")
    run("parsl-optuna", "collect", "--task", "tests.toy:TASK", *where(config, "artifacts", "results"))

    after = pd.read_parquet(table).set_index("trial_id")
    assert after.objective[victim] == before.objective[victim]


def test_what_is_maximised_keeps_its_sign_everywhere(tmp_path):
    objectives = {"cost": "maximize", "value": "minimize"}
    config = write_config(
        tmp_path, optuna={"max_trials": 8, "batch_size": 1, "confirm": 0, "objectives": objectives}
    )

    out, _ = run("parsl-optuna", "--config", config, "--inline")

    rows = pd.read_parquet(tmp_path / "results" / "optuna_trials.parquet")
    (best,) = json.loads((tmp_path / "results" / "best.json").read_text())["studies"]
    assert (rows.objective > 0).all()
    assert best["objective"] == rows.objective.max()
    assert f"{rows.objective.max():.4g}" in out
    front = {tuple(member["objectives"].values()) for member in best["front"]}
    pairs = list(zip(rows.objective, rows.value, strict=True))
    assert front == {
        (c, v) for c, v in pairs if not any(a >= c and b <= v and (a, b) != (c, v) for a, b in pairs)
    }


CONFIG = """
from parsl import Config, HighThroughputExecutor
from parsl.providers import LocalProvider

class Strict(HighThroughputExecutor):
    def validate_resource_spec(self, resource_specification):
        raise KeyError("this executor knows no resources")

config = Config(executors=[Strict(address="127.0.0.1", max_workers_per_node=1,
                                  provider=LocalProvider(init_blocks=1, max_blocks=1))],
                initialize_logging=False)
"""


def test_a_configuration_that_parsl_refuses_ends_the_command_and_no_trial_is_stored(tmp_path):
    (tmp_path / "refused.py").write_text(CONFIG)
    short = {"method_budget_sec": 60, "hmc_budget_sec": 60}
    config = write_config(tmp_path, parsl_config=str(tmp_path / "refused.py"), optuna=short)

    _, err = run("parsl-optuna", "--config", config, code=2)

    assert "this executor knows no resources" in err
    assert not list((tmp_path / "artifacts").glob("runs/*/*/*/metrics.json"))


FUNCTIONS = """
def engines_name(lr):
    return {"runtime_sec": 3.0, "loss": lr}

def misspelt(lr):
    return {"test_acc ": lr}
"""


def function_config(folder, function, metric, **optuna):
    (folder / "f.py").write_text(FUNCTIONS)
    return write_config(
        folder,
        task="function",
        problems=[{"function": f"{folder / 'f.py'}:{function}"}],
        methods=None,
        search_space={"function": {"lr": {"low": 0.1, "high": 1.0}}},
        optuna={"max_trials": 9, "batch_size": 1, "confirm": 0, "n_startup_trials": 9, **optuna}
        | {"objective": {"type": "metric", "metric": metric}},
    )


@pytest.mark.parametrize(
    ("function", "metric", "words"),
    [
        ("engines_name", "loss", "'runtime_sec' has a name of the engine, which measures it; rename it"),
        ("misspelt", "test_acc", "did you mean 'test_acc '?; have the code report 'test_acc'"),
    ],
)
def test_a_name_that_no_trial_can_mend_ends_the_study_after_one(tmp_path, function, metric, words):
    config = function_config(tmp_path, function, metric)

    for _ in range(2):  # the second command tries whether that was corrected
        out, err = run("parsl-optuna", "--config", config, "--inline", code=1)

        assert "1 trial in the table, 1 trial run by this command" in out
        assert words in err
        assert "parsl-optuna retry" not in err


def test_trials_that_reported_the_metric_named_now_count_without_running_again(tmp_path):
    config = function_config(tmp_path, "misspelt", "accuracy_of_it_all", stop_after_failures=3)
    _, err = run("parsl-optuna", "--config", config, "--inline", code=1)
    assert "running again changes nothing" in err

    config = function_config(tmp_path, "misspelt", "test_acc ", max_trials=4)
    out, _ = run("parsl-optuna", "--config", config, "--inline")

    assert "4 trials in the table, 1 trial run by this command" in out
