import copy

import pytest
import torch
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.checkpoints import models
from torch import nn

MODEL = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def state(value):
    found = copy.deepcopy(MODEL.state_dict())
    found["0.bias"].fill_(value)
    return found


def biases(checkpoints):
    return [(label, float(loaded[0].bias[0].detach())) for label, loaded in models(MODEL, checkpoints)]


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    for step in (10, 9, 100):
        torch.save({"state_dict": state(step), "epoch": step}, tmp_path / f"run3_step{step}.pt")
    (tmp_path / "notes.txt").write_text("not a checkpoint")

    assert biases(tmp_path) == [(9, 9.0), (10, 10.0), (100, 100.0)]


def test_memory_of_a_file_may_be_that_of_an_earlier_one(tmp_path):
    """Weights that were read and used up leave their place to the next ones, in some files out of twenty."""
    for step in range(20):
        torch.save(state(step), tmp_path / f"{step}.pt")

    assert biases(tmp_path) == [(step, float(step)) for step in range(20)]


def test_names_are_labels_where_numbers_are_none(tmp_path):
    for name in ("best", "last"):
        torch.save(state(1.0), tmp_path / f"{name}.pth")

    assert [label for label, _ in biases(tmp_path)] == ["best", "last"]


def test_mappings_lists_pairs_modules_and_paths_are_checkpoints(tmp_path):
    torch.save(state(3.0), tmp_path / "a.pt")
    module = copy.deepcopy(MODEL)
    module.load_state_dict(state(4.0))

    assert biases({"first": state(1.0), "second": state(2.0)}) == [("first", 1.0), ("second", 2.0)]
    assert biases([state(1.0), tmp_path / "a.pt", module]) == [(0, 1.0), (1, 3.0), (2, 4.0)]
    assert biases([(0.5, state(1.0))]) == [(0.5, 1.0)]


def test_a_training_loop_may_yield_its_own_weights():
    model = copy.deepcopy(MODEL)

    def train():
        for step in range(3):
            with torch.no_grad():
                model[0].bias.fill_(step)
            yield step, model.state_dict()

    assert biases(train()) == [(0, 0.0), (1, 1.0), (2, 2.0)]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "network.inner."])
def test_what_a_wrapper_puts_before_all_names_is_left_out(prefix):
    wrapped = {prefix + name: value for name, value in state(2.0).items()}

    assert biases([{"state_dict": wrapped}]) == [(0, 2.0)]


def test_a_pickled_module_is_no_checkpoint(tmp_path):
    torch.save(MODEL, tmp_path / "a.pt")

    with pytest.raises(
        SpecError, match=r"a\.pt: holds other objects than weights, or is damaged; save model"
    ):
        biases(tmp_path)


def test_what_is_frozen_stays_frozen():
    model = copy.deepcopy(MODEL)
    model[0].weight.requires_grad_(requires_grad=False)

    ((_, loaded),) = models(model, [state(1.0)])

    assert [value.requires_grad for value in loaded.parameters()] == [False, True, True, True]


@pytest.mark.parametrize(
    ("checkpoints", "said"),
    [
        ([], "there are none"),
        ("nowhere", "nowhere is not a folder"),
        (3, "cannot read a int"),
        ([{"0.bias": torch.zeros(3)}], "checkpoints: 0: does not fit the model"),
        ([{"optimizer": {}}], "checkpoints: 0: is no state dict"),
        ([MODEL.state_dict(), MODEL.state_dict()], "checkpoints: 1: shares its memory"),
        (["missing.pt"], "missing.pt: cannot be read"),
        ([state(float("nan"))], "checkpoints: 0: has weights that are NaN"),
        (
            [{f"module.{name}": value for name, value in list(state(1.0).items())[1:]}],
            "does not fit the model",
        ),
    ],
)
def test_what_is_no_checkpoint_is_refused(checkpoints, said):
    with pytest.raises(SpecError, match=said):
        list(models(MODEL, checkpoints))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"no file \*.pt"):
        list(models(MODEL, tmp_path))
