import math

import pytest
from parsl_optuna.tasks.llc.answer.verdict import REFERENCE_GATE, TRIAL_GATE, Nature, verdict, violation

GOOD = {
    "rhat": 1.001,
    "ess": 5000.0,
    "drift": 0.5,
    "virial_ratio": 1.0,
    "virial_se": 0.01,
    "variance_over_mean": 1.0,
    "variance_over_mean_se": 0.02,
    "prior_sensitivity": 0.1,
    "prior_sensitivity_se": 0.02,
    "lowest_excess": 0.01,
    "energy_variance": 1e-4,
    "divergences": 0.0,
    "lost_chains": 0,
    "gradient_norm": 1e-9,
    "centre_bias": 1e-12,
    "n_draws": 500,
    "free_energy": 1.0,
    "bias": 0.0,
}
FIT = Nature(is_fit=True)
CORRECTED = {"nature": FIT, "se_corrected": 0.02}
POOR = {"llc_corrected": 9.0, "khat": 0.9, **CORRECTED}


def judged(value=2.0, error=0.02, nature=Nature(), gate=REFERENCE_GATE, **changes):  # noqa: B008  it is frozen
    return verdict(value, error, GOOD | changes, gate, nature)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"nature": Nature(energy_limit=1e-3)},
        {"centre_bias": None},
        {"llc_corrected": 2.05, "khat": 0.4, **CORRECTED},
        {"llc_corrected": 2.05, "khat": -math.inf, **CORRECTED},
        {"lowest_excess": -0.03},
        {"value": 0.0, "error": 1e-12},
    ],
)
def test_good_draws_are_ok(changes):
    assert judged(**changes) == ("ok", None)


@pytest.mark.parametrize(
    ("changes", "status", "number"),
    [
        ({"value": math.nan}, "diverged", "0 chains"),
        ({"lost_chains": 2}, "diverged", "2 chains"),
        ({"lost_chains": 2, "n_draws": 0}, "diverged", "2 chains"),
        ({"value": math.nan, "n_draws": 0}, "not_converged", "first draw"),
        ({"divergences": 0.02}, "diverged", "2.00%"),
        ({"lowest_excess": -0.5}, "not_minimum", "0.5"),
        ({"centre_bias": 0.4}, "not_minimum", "0.4"),
        ({"rhat": 1.02}, "not_converged", "1.020"),
        ({"rhat": math.nan, "n_draws": 6}, "not_converged", "6 per chain"),
        ({"ess": 300.0}, "not_converged", "300"),
        ({"drift": -4.5}, "not_converged", "-4.5"),
        ({"virial_ratio": 0.8}, "not_converged", "0.800, should be 1"),
        ({"bias": 0.11, "nature": Nature(is_exact=True)}, "not_converged", "chains have not been everywhere"),
        ({"virial_ratio": 0.15, "nature": FIT}, "not_converged", "1 at an optimum"),
        ({"nature": Nature(energy_limit=1e-5)}, "biased", "0.0001"),
        ({"llc_corrected": 2.3, "khat": 0.4, **CORRECTED}, "biased", "gives 2.3"),
        ({"bias": 0.11}, "biased", "0.11, above 5%"),
        ({"prior_sensitivity": 0.8}, "prior_dominated", "0.80"),
        ({"variance_over_mean": 1.5}, "uncertain", "1.50"),
        ({"error": 0.11}, "uncertain", "0.11 above 5%"),
        ({"virial_ratio": 0.82, "virial_se": 0.1}, "uncertain", "known to 0.10"),
        (POOR, "uncertain", "0.90"),
        (POOR | {"prior_sensitivity": 0.8}, "uncertain", "0.90"),
        (
            {"llc_corrected": 2.05, "khat": 0.4, **CORRECTED, "prior_sensitivity": 0.8},
            "prior_dominated",
            "0.80",
        ),
        ({"llc_corrected": math.nan, "khat": math.nan, **CORRECTED}, "uncertain", "no k-hat"),
        ({**POOR, "nature": Nature(is_fit=True, is_given=True), "virial_ratio": 9.0}, "uncertain", "0.90"),
    ],
)
def test_a_status_comes_with_the_number_that_shows_it(changes, status, number):
    found, reason = judged(**changes)

    assert found == status
    assert number in reason


def test_a_loss_that_saturates_is_no_fault_of_exact_draws():
    """Var(tK) = LLC - d LLC / d ln t: the ratio is above 1 wherever the LLC falls with t."""
    assert judged(variance_over_mean=1.5, nature=Nature(is_exact=True)) == ("ok", None)


def test_the_gate_of_a_trial_is_wider_than_a_reference_s():
    seen = {"rhat": 1.03, "ess": 150.0, "error": 0.15}

    assert judged(**seen, gate=TRIAL_GATE) == ("ok", None)
    assert judged(**seen)[0] == "not_converged"


def test_worse_statuses_violate_more_and_so_do_larger_excesses():
    cases = [
        {},
        {"error": 0.3, "gate": TRIAL_GATE},
        {"error": 0.6, "gate": TRIAL_GATE},
        {"prior_sensitivity": 0.7},
        {"rhat": 1.2},
        {"rhat": 3.0},
        {"rhat": math.nan},
        {"lowest_excess": -0.5},
        {"lost_chains": 2},
    ]

    found = [
        violation(2.0, case.get("error", 0.02), GOOD | case, case.get("gate", REFERENCE_GATE), Nature())
        for case in cases
    ]

    assert found[0] == 0.0
    assert found == sorted(set(found))


def test_of_several_exceeded_limits_the_largest_counts():
    both = GOOD | {"rhat": 1.2, "ess": 20.0}

    found = [violation(2.0, 0.02, GOOD | one, TRIAL_GATE, Nature()) for one in ({"ess": 20.0}, {"rhat": 1.2})]

    assert violation(2.0, 0.02, both, TRIAL_GATE, Nature()) == max(found)


@pytest.mark.parametrize("changes", [POOR, {"virial_ratio": 0.15}])
def test_fits_that_are_not_ok_are_ordered_by_their_elbo(changes):
    seen = {name: value for name, value in (GOOD | changes).items() if name != "nature"}

    found = [violation(2.0, 0.02, seen | {"free_energy": one}, TRIAL_GATE, FIT) for one in (0.7, 1.1, 4.0)]

    assert found == sorted(set(found))
    assert int(found[0]) == int(found[-1])


def test_a_slope_that_is_noise_is_no_dominating_prior():
    assert judged(prior_sensitivity=0.71, prior_sensitivity_se=1.8) == ("ok", None)
    assert judged(prior_sensitivity=0.71, prior_sensitivity_se=0.2)[0] == "prior_dominated"
