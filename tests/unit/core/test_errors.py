import pytest
from parsl_optuna.core.errors import nearest


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("ACC", ["Acc", "loss"], "did you mean 'Acc'?"),
        ("los", ["acc", "loss"], "did you mean 'loss'?"),
        ("x", ["acc", "loss"], "known: acc, loss"),
        ("x", [], "nothing is allowed here"),
    ],
)
def test_the_name_that_may_be_meant_is_said(name, known, said):
    assert nearest(name, known) == said
