import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.fidelity import Fidelity


def test_rungs_end_at_the_full_length():
    assert Fidelity("epochs", 5, 100).rungs == (5, 15, 45, 100)
    assert Fidelity("epochs", 5, 45).rungs == (5, 15, 45)
    assert Fidelity("share", 0.25, 1, factor=2).rungs == (0.25, 0.5, 1.0)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [((0, 10, 3), "min 0"), ((10, 10, 3), "below max 10"), ((1, 10, 1), "factor 1 must be at least 2")],
)
def test_what_is_no_ladder_is_refused(wrong, why):
    low, high, factor = wrong

    with pytest.raises(SpecError, match=why):
        Fidelity("epochs", low, high, factor)
