"""Every mistake a person can make is one clear line, exit code 2, and nothing is lost."""

import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.command import run, write_config

LLC = {
    "task": None,
    "problems": [{"model": "quadratic"}],
    "methods": ["sgld"],
}


def refused(*args, words):
    _, err = run(*args, code=2)
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    for word in words:
        assert word in lines[0], err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"problem": []}, ["$.problem", "did you mean 'problems'"]),
        ({"problems": None}, ["$.problems", "missing"]),
        ({"optuna": {"max_trials": "ten"}}, ["$.optuna.max_trials", "whole number", "'ten'"]),
        ({"optuna": {"max_trial": 10}}, ["$.optuna.max_trial", "did you mean 'max_trials'"]),
        ({"optuna": {"method_budget_sec": -1}}, ["method_budget_sec", "above 0"]),
        ({"optuna": {"sampler": "tpee"}}, ["sampler", "'tpee'", "tpe"]),
        ({"methods": ["sgdl"]}, ["$.methods[0]", "did you mean 'sgld'"]),
        ({"methods": "sgld"}, ["$.methods", "must be a list"]),
        ({"problems": [{"model": "smal"}]}, ["$.problems[0].model", "smal", "did you mean 'small'"]),
        ({"problems": [{"model": "small", "data": "bse"}]}, ["$.problems[0].data", "did you mean 'base'"]),
        (
            {"problems": [{"model": "small", "overrides": {"model": {"dept": 3}}}]},
            ["$.problems[0].overrides.model.dept", "did you mean 'depth'"],
        ),
        ({"search_space": {"sgld": {"eta": 1}}}, ["$.search_space.sgld.eta", "did you mean 'eta0'"]),
        (
            {"search_space": {"sgld": {"eta0": {"low": 1.0, "high": 0.1}}}},
            ["$.search_space.sgld.eta0", "low 1.0", "high 0.1"],
        ),
        ({"task": "lcc"}, ["$.task", "no task 'lcc'", "llc"]),
        ({"task": "nowhere.at.all:TASK"}, ["$.task", "nowhere"]),
    ],
)
def test_a_configuration_mistake(tmp_path, changes, words):
    config = write_config(tmp_path, **(LLC | changes))

    refused("parsl-optuna", "--config", config, "--inline", words=["config.yaml", *words])

    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("problems: [", ["line", "not valid YAML"]),
        ("- a\n- b\n", ["top level is a list"]),
        ("task: a\ntask: b\n", ["line 2", "'task' appears twice"]),
        ("", ["$.problems", "missing"]),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path, text, words):
    path = tmp_path / "config.yaml"
    path.write_text(text)

    _, err = run("parsl-optuna", "--config", path, "--inline", code=2)

    assert all(word in err for word in ["config.yaml", *words])


def test_missing_files_and_wrong_flags(tmp_path):
    config = write_config(tmp_path)
    refused(
        "parsl-optuna", "--config", tmp_path / "none.yaml", "--local", words=["none.yaml", "no such file"]
    )
    refused("parsl-optuna", "--config", config, words=["--local"])
    refused("parsl-optuna", "--config", config, "--local", "--inline", words=["one of"])
    refused("parsl-optuna", "show", "r_000000000000", "--artifacts-dir", tmp_path, words=["no such problem"])
    refused("parsl-optuna", "best", "--results-dir", tmp_path, words=["best.json", "run parsl-optuna first"])
    assert "did you mean 'status'" in run("parsl-optuna", "stauts", code=2)[1]
    assert "--max-trials" in run("parsl-optuna", "--config", config, "--max-trails", "3", code=2)[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothing_of_that_name\n", ["does not run", "nothing_of_that_name"]),
        ("config = 3\n", ["define 'config', a parsl.Config"]),
        ("def config():\n    raise ValueError('no account')\n", ["does not run", "no account"]),
        ("config = (\n", ["does not run", "SyntaxError"]),
    ],
)
def test_a_parsl_file_that_is_no_good(tmp_path, text, words):
    config, path = write_config(tmp_path), tmp_path / "mine.py"
    path.write_text(text)

    refused("parsl-optuna", "--config", config, "--parsl-config", path, words=["mine.py", *words])


@pytest.fixture
def finished(tmp_path):
    """A finished run, its configuration, and one of its trials' folders."""
    config = write_config(tmp_path)
    run("parsl-optuna", "--config", config, "--inline")
    return config, sorted((tmp_path / "artifacts" / "runs").glob("*/guess/*"))[0]


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("metrics.json", lambda text: text[: len(text) // 2], ["metrics.json", "not valid JSON"]),
        ("metrics.json", lambda text: "{}", ["metrics.json", "not an outcome"]),
        ("metrics.json", lambda text: text.replace('"r_', '"r_0'), ["metrics.json", "was changed"]),
        ("metrics.json", lambda text: "", ["metrics.json", "not valid JSON"]),
        ("manifest.json", lambda text: text[:20], ["manifest.json", "not valid JSON"]),
        ("manifest.json", lambda text: text.replace('"k": ', '"k": 1'), ["manifest.json", "was changed"]),
    ],
)
def test_a_spoiled_file_is_named_and_nothing_is_lost(finished, name, spoil, words):
    config, folder = finished
    path = folder / name
    text = path.read_text()
    path.write_text(spoil(text))

    refused("parsl-optuna", "--config", config, "--inline", words=words)

    path.write_text(text)
    out, _ = run("parsl-optuna", "--config", config, "--inline")
    assert "0 references and trials run" in out


def test_a_spoiled_reference_is_named_and_deleting_it_cures(finished, tmp_path):
    config, _ = finished
    path = next((tmp_path / "artifacts" / "problems").glob("*/ref.json"))
    path.write_text(path.read_text().replace("truth_ref", "truth"))

    refused("parsl-optuna", "--config", config, "--inline", words=["ref.json", "was changed"])

    path.unlink()
    out, _ = run("parsl-optuna", "--config", config, "--inline")
    assert "0 references and trials run" in out


def test_a_deleted_outcome_is_run_again_and_alone(finished):
    config, folder = finished
    before = json.loads((folder / "metrics.json").read_text())
    shutil.rmtree(folder)
    folder.mkdir()  # a crash between the folder and its manifest leaves this

    run("parsl-optuna", "--config", config, "--inline")

    again = folder / "metrics.json"
    assert not again.exists() or json.loads(again.read_text())["metrics"] == before["metrics"]


def test_a_table_of_another_version_is_replaced_by_a_run(finished, tmp_path):
    config, _ = finished
    pq.write_table(pa.table({"a": [1]}), tmp_path / "results" / "optuna_trials.parquet")

    run("parsl-optuna", "--config", config, "--inline")

    rows = pq.read_table(tmp_path / "results" / "optuna_trials.parquet")
    assert rows.num_rows == 5


@pytest.mark.parametrize("which", ["artifacts", "results"])
def test_a_folder_that_cannot_be_written(tmp_path, which):
    config = write_config(tmp_path)
    (tmp_path / which).write_text("a file, not a folder")

    refused("parsl-optuna", "--config", config, "--inline", words=[which, "cannot be written"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    config = write_config(tmp_path)
    (tmp_path / "artifacts").mkdir(mode=0o500)

    refused("parsl-optuna", "--config", config, "--inline", words=["artifacts", "cannot be written"])
