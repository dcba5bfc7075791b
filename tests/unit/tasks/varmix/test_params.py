import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.varmix.params import complete, irrelevant, space


def test_the_default_space_lies_within_what_is_allowed():
    for name, dimension in space({}, "varmix").dimensions.items():
        assert complete({}, "varmix", {name: dimension.low}, "p")[name] == dimension.low
        assert complete({}, "varmix", {name: dimension.high}, "p")[name] == dimension.high


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_clusters": 1}, "at least 2"),
        ({"samples": 1}, "baseline is the others"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"conj_weight": -0.1}, "at least 0"),
        ({"mode": "gradint"}, "did you mean 'gradient'"),
    ],
)
def test_mistakes_are_told(params, message):
    with pytest.raises(SpecError, match=message):
        complete({}, "varmix", params, "p")


def test_with_a_penalty_and_a_learned_rho_everything_matters():
    assert irrelevant("varmix", {}) == set()
    assert irrelevant("varmix", {"conj_weight": 0, "mode": "analytical"}) == {
        "conj_warmup_steps",
        "prior_samples",
        "rho_lr",
    }
