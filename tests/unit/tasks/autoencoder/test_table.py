import numpy as np
import pandas as pd
import pytest
import torch
from parsl_optuna.core.errors import TaskError
from parsl_optuna.tasks.autoencoder import TASK
from parsl_optuna.tasks.autoencoder.columns import COLUMNS
from parsl_optuna.tasks.autoencoder.table import folds
from parsl_optuna.tasks.base import prepare_task


def made(folder, **raw):
    problem = TASK.resolve({"n_rows": 200} | raw, "p $")
    folder.mkdir(exist_ok=True)
    prepare_task(TASK, problem, folder)
    return folds(problem, folder)


def test_the_splits_have_their_sizes_and_share_nothing(tmp_path):
    (holdout,) = made(tmp_path / "a")
    (three,) = made(tmp_path / "b", split="validation")
    five = made(tmp_path / "c", split="folds", folds=5)

    assert [len(one.values) for one in (holdout.train, holdout.test)] == [160, 40]
    assert holdout.select is not None
    assert torch.equal(holdout.select.values, holdout.test.values)
    assert [len(one.values) for one in (three.train, three.select, three.test)] == [120, 40, 40]
    assert [len(one.select.values) for one in five] == [32] * 5
    assert [len(one.train.values) for one in five] == [128] * 5


def csv(folder, **columns):
    rows = pd.DataFrame({name: np.arange(100.0) for name in COLUMNS}).assign(id="x", **columns)
    rows.to_csv(folder / "t.csv", index=False)


def test_scaling_is_fitted_on_training_rows_and_survives_odd_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rare = np.zeros(100)
    rare[3] = 80.0
    csv(tmp_path, L=7.0, Ind=0.0, CG=rare, WG=["", *np.arange(99.0)])
    (fold,) = made(tmp_path / "p", data_path="t.csv")

    for part in (fold.train, fold.test):
        assert 0 <= part.values.min() <= part.values.max() <= 1
        assert torch.isfinite(part.values).all()
    missing = (~fold.train.there).sum() + (~fold.test.there).sum()
    assert int(missing) == 1
    assert float(fold.train.values[:, 13].min()) == 0.0
    assert float(fold.train.values[:, 13].max()) == 1.0


def test_an_edited_file_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    csv(tmp_path)
    problem = TASK.resolve({"data_path": "t.csv"}, "p $")
    pd.read_csv(tmp_path / "t.csv").head(25).to_csv(tmp_path / "t.csv", index=False)

    with pytest.raises(TaskError, match="was edited"):
        prepare_task(TASK, problem, tmp_path)
