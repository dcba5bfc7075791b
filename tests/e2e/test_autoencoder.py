"""``parsl-autoencoder`` as the seed document calls it."""

import json

import pandas as pd
import pytest
import torch

from tests.e2e.command import SCRIPTS, run

SCRIPTS["parsl-autoencoder"] = SCRIPTS["parsl-optuna"].with_name("parsl-autoencoder")
QUICK = (
    "--data_path",
    "demo",
    "--latent_dim",
    2,
    "--hidden_dims_search",
    "8,16,32",
    "--max_layers",
    2,
    "--epochs",
    3,
)


@pytest.mark.system
def test_a_search_leaves_what_is_documented_and_repeats_nothing(tmp_path):
    out, _ = run("parsl-autoencoder", *QUICK, "--save_models", "--ensemble", 3, cwd=tmp_path)

    assert "HYPERPARAMETER OPTIMIZATION COMPLETED" in out
    assert "Ensemble of the best 3: test MSE 0." in out
    told = json.loads((tmp_path / "output" / "hyperparam_results_latent2.json").read_text())
    assert out.count("The class periods are made up") == 2
    assert told["data_is_made_up"] is True
    assert told["total_configurations"] == len(told["all_results"]) == 9
    best = told["best_configuration"]
    assert best["final_test_loss"] == min(one["final_test_loss"] for one in told["all_results"])
    info = best["model_info"]
    assert info["encoder_params"] + info["decoder_params"] + 48 == info["total_params"]
    assert {"config", "final_test_loss", "model_params", "num_layers"} <= set(told["all_results"][0])
    assert told["args"]["hidden_dims_search"] == "8,16,32"
    for name in ("hyperparam_search_latent2", "config_performance_latent2", "latent_space_2d_best_config",
                 "hyperparam_trials_latent2"):  # fmt: skip
        assert (tmp_path / "output" / f"{name}.png").stat().st_size > 5000
    assert torch.load(tmp_path / "output" / "best_model_latent2.pth", weights_only=True)

    table = (tmp_path / "output" / "hyperparam_trials_latent2.parquet").read_bytes()
    run("parsl-autoencoder", *QUICK, "--save-models", cwd=tmp_path)
    assert (tmp_path / "output" / "hyperparam_trials_latent2.parquet").read_bytes() == table


def test_optuna_searches_with_hyphens_and_validation(tmp_path):
    run("parsl-autoencoder", *QUICK, "--search", "tpe", "--max-trials", 4, "--split", "validation",
        "--inline", "--patience", 2, cwd=tmp_path)  # fmt: skip

    rows = pd.read_parquet(tmp_path / "output" / "hyperparam_trials_latent2.parquet")
    assert len(rows) == 4
    assert (rows.selection_loss != rows.final_test_loss).all()


def test_mistakes_are_told_in_one_line(tmp_path):
    _, err = run("parsl-autoencoder", cwd=tmp_path, code=2)
    assert "no file 'data/stains.csv'" in err
    assert "--data_path demo for made-up class periods" in err
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    _, err = run("parsl-autoencoder", "--data_path", "a.csv", cwd=tmp_path, code=2)
    assert "24 of the 24 COPUS columns are missing" in err
    _, err = run("parsl-autoencoder", "--hidden_dims_search", "8,x", cwd=tmp_path, code=2)
    assert "--hidden_dims_search: '8,x' must be widths" in err
