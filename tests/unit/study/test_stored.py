from parsl_optuna.core.records import Manifest
from parsl_optuna.study.stored import _without


def test_a_shorter_trial_is_found_whatever_the_order_of_its_hyperparameters():
    """A file keeps the order of the program that wrote it, a plan that of its task."""
    short = Manifest("t", 1, "trial", "p_0", "m", {"lr": 0.1, "steps": 10, "width": 3}, 0, 60.0)
    long = Manifest("t", 1, "trial", "p_0", "m", {"width": 3, "steps": 20, "lr": 0.1}, 0, 120.0)

    assert _without(short, "steps") == _without(long, "steps")
