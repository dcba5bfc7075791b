import pytest
from parsl_optuna.core.seeds import is_seed


@pytest.mark.parametrize(
    "name", ["seed", "data_seed", "train.seed", "randomSeed", "random_state", "model.Random_State"]
)
def test_a_name_that_ends_like_one_is_a_seed(name):
    assert is_seed(name)


@pytest.mark.parametrize("name", ["n_seeds", "seed_lr", "speed", "seed.lr", "state", "random_state_dim"])
def test_other_names_are_hyperparameters(name):
    assert not is_seed(name)
