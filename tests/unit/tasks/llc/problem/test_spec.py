from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.ids import problem_id
from parsl_optuna.tasks.llc.problem.spec import Mlp, bind, plain, preset_names, resolve, width_for

SEED_PROBLEM = {"model": "small", "data": "base", "teacher": "_null", "seed": 42}


def pid(raw):
    return problem_id("llc", 1, resolve(raw, "f.yaml $"))


def test_the_presets_of_the_contract_exist():
    assert {"small", "base"} <= set(preset_names("model"))
    assert {"small", "base"} <= set(preset_names("data"))
    assert {"_null", "small", "base"} <= set(preset_names("teacher"))


def test_overrides_reach_the_model():
    raw = SEED_PROBLEM | {"overrides": {"model": {"depth": 3, "target_params": 5000}}}

    problem = bind(resolve(raw, "f.yaml $"))

    assert isinstance(problem.model, Mlp)
    assert (problem.model.depth, problem.model.target_params) == (3, 5000)


@pytest.mark.parametrize(
    "change",
    [
        {"teacher": "_null"},
        {"overrides": {"data": {"noise_scale": 0.1}}},
        {"overrides": {"posterior": {"gamma": 1}}},
        {"posterior": {"gamma": 1.0, "loss": "mse"}},
        {"seed": 42.0},
    ],
)
def test_spelling_a_default_out_keeps_the_id(change):
    assert pid({"model": "small", "data": "base"}) == pid(SEED_PROBLEM | change)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 43},
        {"overrides": {"posterior": {"gamma": 0.001}}},
        {"overrides": {"posterior": {"beta0": 2.0}}},
        {"overrides": {"posterior": {"beta_mode": "fixed"}}},
        {"overrides": {"posterior": {"loss_scale": 0.5}}},
        {"overrides": {"posterior": {"precision": "float32"}}},
        {"overrides": {"data": {"n_data": 19999}}},
    ],
)
def test_everything_that_changes_the_answer_changes_the_id(change):
    assert pid(SEED_PROBLEM) != pid(SEED_PROBLEM | change)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"model": "smal"}, "f.yaml $.model: no preset 'smal'; did you mean 'small'?"),
        ({"modle": "small"}, "f.yaml $.modle: unknown key; did you mean 'model'?"),
        ({"data": "small"}, "f.yaml $.model: is missing"),
        ({"model": "small", "overrides": {"modle": {}}}, "names nothing; did you mean 'model'?"),
        ({"model": "small", "overrides": {"model": {"dept": 1}}}, "$.overrides.model.dept: unknown key"),
        ({"model": "small", "overrides": {"data.noise_scale": 0.05}}, "nest it: data: {noise_scale: …}"),
        ({"model": "small", "overrides": {"model": {"depth": "two"}}}, "model.depth: must be a whole"),
        ({"model": "dln", "overrides": {"training": {"lr": 1}}}, "a closed-form target has no training"),
        ({"model": "dln", "overrides": {"model": {"rank": 9}}}, "rank 9 must be between 0"),
        ({"model": "monomial", "overrides": {"model": {"exponents": [3]}}}, "must be even"),
        ({"model": {"kind": "mpl"}}, "unknown kind 'mpl'; did you mean 'mlp'?"),
        ({"model": "small", "seed": "x"}, "$.seed: must be a whole number"),
        ({"model": "small", "overrides": {"posterior": {"gamma": -1}}}, "gamma -1.0 must be above 0"),
    ],
)  # fmt: skip
def test_bad_input_is_told_with_place_and_cure(raw, message):
    with pytest.raises(SpecError) as caught:
        resolve(raw, "f.yaml $")

    assert message in str(caught.value)


def test_binding_the_resolved_problem_gives_it_back():
    for model in preset_names("model"):
        resolved = resolve({"model": model}, "f.yaml $")

        assert plain(bind(resolved)) == resolved


@pytest.mark.parametrize(("name", "width", "dim"), [("small", 4, 45), ("base", 62, 9921)])
def test_the_contract_sizes(name, width, dim):
    model = bind(resolve({"model": name}, "f.yaml $")).model
    assert isinstance(model, Mlp)
    sizes = model.layer_sizes()

    assert sizes[1] == width
    assert sum(a * b + b for a, b in pairwise(sizes)) == dim


@given(st.integers(20, 50_000), st.integers(1, 40), st.integers(1, 5), st.integers(1, 5))
def test_the_width_is_the_largest_that_fits(target, in_dim, out_dim, depth):
    def count(width):
        return (in_dim + 1) * width + (depth - 1) * (width + 1) * width + (width + 1) * out_dim

    width = width_for(target, in_dim, out_dim, depth)

    assert width == 1 or count(width) <= target
    assert count(width + 1) > target
