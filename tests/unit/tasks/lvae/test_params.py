import math

import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.lvae.params import GUARD_NAMES, GUARDS, complete, irrelevant, space


def test_defaults_are_filled_and_infinity_is_no_limit():
    found = complete({}, "lvae", {"recon_tol": math.inf, "lr": 1}, "p")

    assert found["recon_tol"] is None
    assert found["lr"] == 1.0
    assert found["pruning_strategy"] == "neighbours"


@pytest.mark.parametrize("profile", GUARDS)
def test_a_profile_stands_for_its_safeguards(profile):
    found = complete({}, "lvae", {"safeguard_profile": profile}, "p")

    assert tuple(found[name] for name in GUARD_NAMES) == GUARDS[profile]
    assert "safeguard_profile" not in found
    assert complete({}, "lvae", {"safeguard_profile": profile, "k_consecutive": 9}, "p")["k_consecutive"] == 9


def test_only_the_chosen_strategys_thresholds_matter():
    assert irrelevant("lvae", {"pruning_strategy": "lognorm"}) == {
        "plummet_threshold",
        "cdf_threshold",
        "temperature",
    }
    assert "plummet_threshold" not in irrelevant("lvae", {})
    assert "percentile" not in irrelevant("lvae", {"pruning_strategy": "lognorm_original"})


def test_the_search_space_contains_the_defaults():
    defaults = complete({}, "lvae", {}, "p")

    for name, dimension in space({}, "lvae").dimensions.items():
        assert dimension.contains(defaults[name]), name


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pruning_stategy": "plummet"}, "did you mean 'pruning_strategy'"),
        ({"pruning_strategy": "plumet"}, "did you mean 'plummet'"),
        ({"lr": 0}, "lr 0.0 must be above 0"),
        ({"beta": 1.0}, "beta 1.0 must be at least 0 and below 1"),
        ({"alpha": 1.5}, "alpha 1.5 must be in"),
        ({"w_v": math.nan}, "w_v nan must be a finite number"),
        ({"recon_tol": -math.inf}, "recon_tol -inf must be a finite number"),
        ({"recon_tol": -0.1}, "recon_tol -0.1 must be at least 0, or null for no limit"),
        ({"max_prune_per_epoch": 0}, "max_prune_per_epoch 0 must be at least 1, or null for no limit"),
        ({"polynomial_schedule_p": -1}, "polynomial_schedule_p -1.0 must be at least 0"),
        ({"plummet_threshold": -0.1}, "plummet_threshold -0.1 must be at least 0"),
        ({"batch_size": 1}, "batch_size 1 must be at least 2: one code has no std"),
        ({"percentile": 1.0}, "percentile 1.0 must be between"),
        ({"safeguard_profile": "moderate"}, "no 'moderate'; did you mean 'all_moderate'"),
    ],
)
def test_mistakes_are_told(params, message):
    with pytest.raises(SpecError, match=message):
        complete({}, "lvae", params, "p")
