"""The analysis of a run, as a user sees it."""

import pandas as pd

from tests.e2e.command import run, write_config


def test_an_analysis_is_tables_pictures_and_one_page(tmp_path):
    config = write_config(
        tmp_path,
        problems=[{"truth": 1.0, "trouble": "curve"}, {"truth": 2.0, "trouble": "curve"}],
        optuna={"max_trials": 24, "batch_size": 4, "confirm": 0, "objectives": ["error", "cost"]},
    )
    run("parsl-optuna", "--config", config, "--inline")

    out, _ = run("parsl-optuna", "analyze", tmp_path / "results", "--artifacts-dir", tmp_path / "artifacts")

    folder = tmp_path / "results" / "analysis"
    report = tmp_path / "results" / "report.html"
    assert str(report) in out
    assert "best error" in out.splitlines()[0]
    assert "48 trials: 48 ok." in out
    drawn = {path.name for path in folder.glob("*.png")}
    assert {"objective_by_hyperparameter.png", "interaction.png"} <= drawn
    assert "<img" not in report.read_text().partition("<script>")[0]  # the page draws them itself
    effects = pd.read_csv(folder / "effects.csv")
    assert set(effects.parameter) == {"x", "k", "kind"}
    assert set(effects.metric) == {"objective", "cost (metric)"}  # the table has a column of that name
    assert "a sampler that learns" in effects.note.iloc[0]  # the sampler learns
    ranked = pd.read_csv(folder / "importances.csv")
    cost = ranked[ranked.metric == "cost (metric)"].groupby("parameter").importance.mean()
    assert cost.idxmax() == "k"
    assert "## Outcomes" in (folder / "summary.md").read_text()


def test_trials_of_an_earlier_sampler_that_learns_are_no_random_ones(tmp_path):
    for sampler, n_trials in (("tpe", 8), ("random", 10)):
        search = {"max_trials": n_trials, "batch_size": 4, "confirm": 0, "sampler": sampler}
        run("parsl-optuna", "--config", write_config(tmp_path, optuna=search), "--inline")

    run("parsl-optuna", "analyze", tmp_path / "results", "--artifacts-dir", tmp_path / "artifacts")

    effects = pd.read_csv(tmp_path / "results" / "analysis" / "effects.csv")
    assert effects.note.str.contains("a sampler that learns").all()


def test_a_folder_without_trials_is_told(tmp_path):
    _, err = run("parsl-optuna", "analyze", tmp_path, code=2)

    assert "no table of trials there" in err
