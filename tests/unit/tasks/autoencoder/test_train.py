import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import TaskError
from parsl_optuna.tasks.autoencoder import TASK
from parsl_optuna.tasks.autoencoder.train import WEIGHTS
from parsl_optuna.tasks.base import Work, prepare_task, run_task


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    return {split: prepared(tmp_path_factory.mktemp(split), split) for split in ("holdout", "folds")}


def prepared(folder, split):
    problem = TASK.resolve({"n_rows": 300, "split": split, "folds": 3}, "p $")
    prepare_task(TASK, problem, folder)
    return problem, folder


def run(place, files=None, told=None, **params):
    problem, folder = place
    complete = TASK.complete(problem, "autoencoder", {"epochs": 4, "hidden_dims": "16"} | params, "p $")
    told = [] if told is None else told
    return run_task(
        TASK,
        Work(problem, "autoencoder", complete, 1, Deadline(60), folder,
             report=lambda *one: told.append(one), files=files),
    )  # fmt: skip


def test_training_lowers_the_loss_and_is_the_same_again(where):
    first = run(where["holdout"], epochs=10)

    assert first["test_losses"][-1] < 0.6 * first["test_losses"][0]
    assert first["selection_loss"] == first["final_test_loss"] == first["test_losses"][-1]
    assert first["best_test_loss"] == min(first["test_losses"])
    assert run(where["holdout"], epochs=10) == first
    assert run(where["holdout"], epochs=10, seed=1) != first


def test_folds_have_a_mean_and_a_standard_error(where):
    told = []
    metrics = run(where["folds"], told=told)

    assert metrics["selection_se"] > 0
    assert [step for step, _ in told] == list(range(12))
    assert metrics["selection_loss"] == pytest.approx(told[-1][1]["selection_loss"])


def test_patience_stops_early_and_keeps_the_best_weights(where):
    metrics = run(where["holdout"], epochs=60, initial_lr=0.05, patience=2)

    assert metrics["epochs_run"] < 60
    assert metrics["selection_loss"] == pytest.approx(min(metrics["test_losses"]), rel=1e-5)
    assert not metrics["truncated"]


def test_weights_are_kept_safely_and_can_start_a_larger_network(where, tmp_path):
    small = tmp_path / "r_small" / "files"
    run(where["holdout"], small, epochs=15)
    assert torch.load(small / WEIGHTS, weights_only=True)

    cold = run(where["holdout"], tmp_path / "r_cold" / "files", hidden_dims="32", epochs=1)
    warm = run(
        where["holdout"], tmp_path / "r_warm" / "files", hidden_dims="32", epochs=1, start_from="r_small"
    )
    assert warm["selection_loss"] < cold["selection_loss"]
    with pytest.raises(TaskError, match="'r_none' has no saved weights"):
        run(where["holdout"], small, start_from="r_none")


def test_a_gpu_that_is_not_there_is_told(where):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(TaskError, match="has no GPU that torch can use"):
        run(where["holdout"], device="cuda")


def test_a_loss_that_is_not_finite_is_an_error(where):
    with pytest.raises(TaskError, match="the training loss is"):
        run(where["holdout"], initial_lr=1e30, epochs=10)


@pytest.mark.parametrize(
    "settings", [{"input_norm": "none"}, {"input_norm": "standardize"}, {"loss": "masked"}]
)
def test_other_norms_and_losses_train_too(where, settings):
    metrics = run(where["holdout"], epochs=10, **settings)

    assert metrics["test_losses"][-1] < metrics["test_losses"][0]
