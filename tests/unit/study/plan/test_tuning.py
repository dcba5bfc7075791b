import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.load import structure
from parsl_optuna.core.spec import FixedSpec, RunSpec
from parsl_optuna.study.plan.fixed import plan_fixed
from parsl_optuna.study.plan.resolve import label_of
from parsl_optuna.study.plan.tuning import load_run, plan_run

from tests.toyrun import TOY, toy_plan


def plan(raw):
    return plan_run(structure(RunSpec, raw, "f.yaml $"), "f.yaml")


def fixed(raw, tuned=None):
    return plan_fixed(structure(FixedSpec, raw, "f.yaml $"), "f.yaml", tuned or {})


def test_a_study_per_problem_and_method_in_order():
    plan = toy_plan(1.0, 2.0, methods=("guess", "other"))

    assert [(s.pid, s.method) for s in plan.studies] == [
        (p.pid, m) for p in plan.problems for m in ("guess", "other")
    ]


def test_the_only_method_of_a_task_need_not_be_named():
    assert [s.method for s in plan({"task": "varmix", "problems": [{"n_images": 100}]}).studies] == ["varmix"]
    with pytest.raises(SpecError, match=r"methods is empty; name one or more of: guess, other"):
        plan({"task": TOY, "problems": [{"truth": 1.0}]})


def test_defaults_spelled_out_are_the_same_problem():
    short, long = toy_plan({"truth": 1}), toy_plan({"trouble": "none", "truth": 1.0, "sleep_sec": 0})

    assert short.problems[0].pid == long.problems[0].pid


def test_a_larger_reference_budget_is_the_same_reference():
    one, two = toy_plan(hmc_budget_sec=1), toy_plan(hmc_budget_sec=2)

    assert one.problems[0].reference.trial_id == two.problems[0].reference.trial_id


def test_all_mistakes_are_told_at_once():
    raw = {
        "task": TOY,
        "problems": [{"truth": 1.0}, {"truht": 1.0}],
        "methods": ["guess", "gues"],
        "search_space": {"gess": {}},
    }

    with pytest.raises(SpecError) as caught:
        plan(raw)

    text = str(caught.value)
    for words in ("$.methods[1]", "$.search_space.gess", "$.problems[1]"):
        assert words in text
    assert "did you mean 'guess'" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "lcc"}, "no task 'lcc'"),
        ({"problems": [{"truth": 1.0}, {"truth": 1}]}, "same problem as problems[0]"),
        ({"enqueue": {"guess": [{"x": 9.0}]}}, "$.enqueue.guess[0].x: 9.0 is outside"),
        ({"enqueue": {"guess": [{"y": 9.0}]}}, "$.enqueue.guess[0]"),
        ({"search_space": {"guess": {"k": 3}}, "enqueue": {"guess": [{"k": 3}]}}, "does not vary"),
        ({"optuna": {"objective": "hubert"}}, "objective"),
        ({"reference": {"digit": 3}}, "digits"),
        ({"methods": []}, "methods is empty"),
        ({"methods": ["guess", "guess"]}, "names one twice"),
        ({"optuna": {"max_trials": 0}}, "max_trials 0 must be above 0"),
        ({"optuna": {"max_trial": 3}}, "max_trials"),
        ({"optuna": {"objectives": ["error", "error"]}}, "different names"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(change, words):
    raw = {"task": TOY, "problems": [{"truth": 1.0}], "methods": ["guess"]} | change

    with pytest.raises(SpecError) as caught:
        plan(raw)

    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_point_of_inverts_hyperparams_and_refuses_strangers():
    study = toy_plan(search_space={"guess": {"kind": "fancy"}}).studies[0]
    point = {"x": 0.5, "k": 3}

    complete = study.hyperparams(point)

    assert study.point_of(complete) == point
    assert study.point_of(complete | {"kind": "plain"}) is None
    assert study.point_of(complete | {"x": 7.0}) is None
    assert study.point_of({"x": 0.5}) is None


def test_fixed_runs_are_every_problem_with_every_sampler_and_seed():
    raw = {
        "task": TOY,
        "problems": [{"truth": 1.0}, {"truth": 2.0}],
        "samplers": [{"name": "guess", "overrides": {"k": 2}, "seeds": [0, 1]}, {"name": "exact"}],
    }

    studies = fixed(raw).studies

    assert [(s.method, len(s.points)) for s in studies] == [("guess", 2), ("exact", 1)] * 2
    assert studies[0].points[1].hyperparams == {"x": 0.0, "k": 2, "kind": "plain"}


def test_fixed_runs_take_tuned_points_and_overrides_on_top():
    raw = {
        "task": TOY,
        "problems": [{"truth": 1.0}],
        "samplers": [{"name": "guess", "best_from": "out", "overrides": {"k": 5}}],
    }
    pid = toy_plan(1.0).problems[0].pid

    plan = fixed(raw, {("out", pid, "guess"): {"x": 0.25, "k": 2, "kind": "fancy"}})

    assert plan.studies[0].points[0].hyperparams == {"x": 0.25, "k": 5, "kind": "fancy"}
    with pytest.raises(SpecError, match="has no tuned guess"):
        fixed(raw)


def test_labels_are_the_words_a_person_wrote():
    assert label_of({"model": "small", "data": "base", "seed": 1}) == "small/base/1"
    assert label_of({"data_path": None, "n_rows": 50}) == "50"
    assert label_of({"data_path": None}) == ""
    assert label_of({"model": "dln", "overrides": {"model": {"dim": 2}}}) == "dln+dim=2"
    assert label_of({"function": "f.py:train", "args": {"which": "first"}}) == "f.py:train+which=first"
    assert label_of({"model": {"kind": "dln", "widths": [2, 3], "rank": 0}}) == "dln(widths=2-3, rank=0)"


def test_a_label_does_not_list_many_overrides():
    assert label_of({"model": "dln", "overrides": {"data": dict.fromkeys("abcd", 1)}}) == "dln+overrides"


def test_an_assignment_of_a_key_within_a_block_is_told_its_place(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("task: function\n")

    with pytest.raises(SpecError, match=r"--set max_trials=4: unknown key .* mean 'optuna.max_trials'\?"):
        load_run(path, ["max_trials=4"])
