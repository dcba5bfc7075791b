import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.spec import PRUNERS
from parsl_optuna.study.search.pruners import make_pruner

PARAMS = {
    "patient": {"base": "median", "patience": 0},
    "threshold": {"upper": 5.0},
    "wandb_hyperband": {"min_iter": 1},
    "hyperband": {"max_resource": 9},
    "successive_halving": {"min_resource": 1},
    "percentile": {"percentile": 50.0},
}


def finished(pruner, name, values):
    for step, value in enumerate(values, 1):
        pruner.report(name, step, value)
    pruner.end(name, values[-1])


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_gives_a_hopeless_trial_up_and_never_the_best(name):
    if name == "wilcoxon":
        pytest.importorskip("scipy")
    pruner = make_pruner(name, PARAMS.get(name, {}), "s")
    for i in range(30):
        finished(pruner, f"good {i}", [1.0 + i * step / 1e6 for step in range(1, 10)])
    doomed, best = [], []
    for step in range(1, 10):
        pruner.report("bad", step, 9.0 + step)
        pruner.report("best", step, 0.5 / (step + 1))
        doomed.append(pruner.reason_to_stop("bad"))
        best.append(pruner.reason_to_stop("best"))

    assert any(doomed)
    assert not any(best)


def test_a_reason_names_pruner_and_step_until_the_trial_ends():
    pruner = make_pruner("threshold", {"upper": 5.0}, "s")
    pruner.report("a", 3, 9.0)

    assert pruner.reason_to_stop("a") == "the pruner 'threshold' stopped it at step 3"
    pruner.end("a", None)
    assert pruner.reason_to_stop("a") is None


def test_trials_that_report_nothing_are_no_trouble():
    pruner = make_pruner("median", {}, "s")

    assert pruner.reason_to_stop("a") is None
    pruner.end("a", 1.0)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("median", {"n_warmup_step": 3}, "did you mean 'n_warmup_steps'"),
        ("median", {"n_warmup_steps": [1]}, "must be a plain value"),
        ("percentile", {}, "refuses its parameters"),
        ("percentile", {"percentile": 200.0}, "refuses its parameters"),
        ("patient", {"base": "patience", "patience": 1}, "is no pruner"),
        ("wandb_hyperband", {"min_iter": 1, "eta": 1.0}, "above 1"),
        ("wandb_hyperband", {"miniter": 1}, "did you mean 'min_iter'"),
    ],
)
def test_mistakes_are_told(name, params, message):
    with pytest.raises(SpecError, match=message):
        make_pruner(name, params, "s")
