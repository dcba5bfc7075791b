import pytest
from parsl_optuna.cli.llc import line_of
from parsl_optuna.core.records import Outcome, State

AT = "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("bias", "shown"),
    [(0.031, "1.5000 ± 0.0300, bias about 0.031  ok"), (0.0, "± 0.0300  ok"), (None, "± 0.0300  ok")],
)
def test_a_line_states_a_known_bias_beside_the_error(bias, shown):
    metrics = {"llc_hat": 1.5, "se_hat": 0.03, "bias": bias, "status": "ok"}
    outcome = Outcome("r_1", "p_1", "sgld", State.OK, None, 1.0, 5.0, AT, AT, "here", metrics=metrics)

    assert line_of("small", "sgld", outcome).endswith(shown)
