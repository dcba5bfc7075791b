import math

import pytest
from parsl_optuna.tasks.llc.answer.verdict import REFERENCE_GATE, TRIAL_GATE, verdict

GOOD = {
    "rhat": 1.001,
    "ess": 5000.0,
    "drift": 0.5,
    "virial_ratio": 1.0,
    "virial_se": 0.01,
    "variance_over_mean": 1.0,
    "variance_over_mean_se": 0.02,
    "prior_sensitivity": 0.1,
    "lowest_excess": 0.01,
    "energy_variance": 1e-4,
    "divergences": 0.0,
    "lost_chains": 0,
    "gradient_norm": 1e-9,
    "centre_bias": 1e-12,
    "n_draws": 500,
}


def judged(value=2.0, error=0.02, energy_limit=None, gate=REFERENCE_GATE, **changes):
    return verdict(value, error, GOOD | changes, gate, energy_limit)


def test_good_draws_are_ok():
    assert judged() == ("ok", None)
    assert judged(energy_limit=1e-3) == ("ok", None)
    assert judged(centre_bias=None) == ("ok", None)
    assert judged(llc_corrected=2.05, se_corrected=0.02, khat=0.4) == ("ok", None)
    assert judged(llc_corrected=9.0, se_corrected=0.02, khat=0.9) == ("ok", None)


@pytest.mark.parametrize(
    ("changes", "status", "number"),
    [
        ({"value": math.nan}, "diverged", "0 chains"),
        ({"lost_chains": 2}, "diverged", "2 chains"),
        ({"lost_chains": 2, "n_draws": 0}, "diverged", "2 chains"),
        ({"value": math.nan, "n_draws": 0}, "not_converged", "first draw"),
        ({"divergences": 0.02}, "diverged", "2.00%"),
        ({"energy_limit": 1e-5}, "diverged", "0.0001"),
        ({"lowest_excess": -0.5}, "not_minimum", "0.5"),
        ({"centre_bias": 0.4}, "not_minimum", "0.4"),
        ({"rhat": 1.02}, "not_converged", "1.020"),
        ({"rhat": math.nan}, "not_converged", "nan"),
        ({"ess": 300.0}, "not_converged", "300"),
        ({"drift": -4.5}, "not_converged", "-4.5"),
        ({"virial_ratio": 0.8}, "not_converged", "0.800"),
        ({"variance_over_mean": 1.5}, "not_converged", "1.50"),
        ({"llc_corrected": 2.3, "se_corrected": 0.02, "khat": 0.4}, "not_converged", "gives 2.3"),
        ({"prior_sensitivity": 0.8}, "prior_dominated", "0.80"),
    ],
)
def test_a_status_comes_with_the_number_that_shows_it(changes, status, number):
    found, reason = judged(**changes)

    assert found == status
    assert number in reason


def test_the_gate_of_a_trial_is_wider_than_a_reference_s():
    assert judged(rhat=1.03, ess=150.0, gate=TRIAL_GATE) == ("ok", None)
    assert judged(rhat=1.03, ess=150.0)[0] == "not_converged"


def test_a_few_draws_below_a_noisy_centre_are_no_alarm():
    assert judged(lowest_excess=-0.03)[0] == "ok"
