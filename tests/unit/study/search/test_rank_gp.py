import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from parsl_optuna.study.search import constraints
from parsl_optuna.study.search.history import REFUSED
from parsl_optuna.study.search.rank_gp import RankGPSampler
from threadpoolctl import threadpool_limits

SPACE = {
    "x": FloatDistribution(-1.0, 1.0),
    "rate": FloatDistribution(1e-5, 1.0, log=True),
    "k": IntDistribution(1, 9),
    "kind": CategoricalDistribution(("plain", "other", None)),
}


def bowl(params):
    return params["x"] ** 2 + (params["k"] - 4) ** 2 / 10 + (params["kind"] != "plain")


def study_of(directions=("minimize",), **options):
    return optuna.create_study(directions=list(directions), sampler=RankGPSampler(seed=3, **options))


def searched(study, count, value):
    for _ in range(count):
        trial = study.ask(SPACE)
        study.tell(trial, value(trial.params))
    return study


def test_it_finds_the_bottom_of_a_mixed_bowl():
    study = searched(study_of(), 30, bowl)

    assert study.best_params["kind"] == "plain"
    assert study.best_params["k"] == 4
    assert study.best_value < 1e-3


def test_another_unit_of_the_values_leaves_its_proposals():
    plain = searched(study_of(), 15, bowl)
    scaled = searched(study_of(), 15, lambda params: 1024.0 * bowl(params))  # without rounding errors

    assert [trial.params for trial in plain.trials] == [trial.params for trial in scaled.trials]


def test_it_finds_the_bottom_beside_divergence():
    def diverging(params):
        return bowl(params) if params["x"] < 0.2 else 1e30

    study = searched(study_of(), 30, diverging)

    assert study.best_value < 1e-2


def test_it_finds_the_bottom_of_a_smooth_function_of_five_parameters():
    """A Gaussian process on ranks alone comes to 3.1 here: near the bottom all ranks are alike."""
    study = study_of()
    for _ in range(40):
        trial = study.ask({f"x{i}": FloatDistribution(-1.0, 1.0) for i in range(5)})
        terms = ((1 + 3 * i) * (x - 0.2 * i) ** 2 for i, x in enumerate(trial.params.values()))
        study.tell(trial, sum(terms))

    assert study.best_value < 0.02


def test_it_finds_the_cone_below_many_small_valleys():
    """Ackley's function. With a length for each number in every proposal, two of five seeds end above 7."""
    space = {f"x{i}": FloatDistribution(-5.0, 10.0) for i in range(5)}
    study = optuna.create_study(sampler=RankGPSampler(seed=2))
    for _ in range(50):
        trial = study.ask(space)
        x = np.array(list(trial.params.values()))
        cone = 20.0 - 20.0 * np.exp(-0.2 * np.sqrt(np.square(x).mean()))
        study.tell(trial, float(cone + np.e - np.exp(np.cos(2 * np.pi * x).mean())))

    assert study.best_value < 5.0


def test_maximising_is_minimising_the_opposite():
    least = searched(study_of(), 15, bowl)
    most = searched(study_of(["maximize"]), 15, lambda params: -bowl(params))

    assert [trial.params for trial in least.trials] == [trial.params for trial in most.trials]


def test_many_in_flight_are_different_points_of_a_small_space():
    space = {"k": IntDistribution(0, 5), "kind": CategoricalDistribution(("a", "b"))}
    study = study_of()
    for _ in range(3):
        trial = study.ask(space)
        study.tell(trial, float(trial.params["k"]))

    running = [tuple(study.ask(space).params.items()) for _ in range(9)]

    assert len({*running, *(tuple(t.params.items()) for t in study.trials[:3])}) == 12


def test_a_space_of_which_all_points_are_known_still_answers():
    study = study_of()
    for _ in range(8):
        trial = study.ask({"k": IntDistribution(0, 2)})
        study.tell(trial, float(trial.params["k"]))

    assert {trial.params["k"] for trial in study.trials} == {0, 1, 2}


def conditional(trial):
    kind = trial.suggest_categorical("kind", ["near", "far"])
    if kind == "near":
        return (trial.suggest_float("a", 0.0, 1.0) - 0.3) ** 2
    return 1.0 + trial.suggest_float("b", 1.0, 8.0, log=True)


def test_parameters_that_depend_on_others_are_recognised():
    study = study_of()

    study.optimize(conditional, 25)

    assert study.best_value < 1e-3
    assert all(("a" in t.params) == (t.params["kind"] == "near") for t in study.trials)


def test_failed_trials_keep_it_away():
    def outcome(params):
        return None if params["x"] > 0.0 else bowl(params)

    study = study_of()
    for _ in range(40):
        trial = study.ask(SPACE)
        value = outcome(trial.params)
        study.tell(trial, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)

    late = study.trials[20:]
    assert sum(trial.state == TrialState.FAIL for trial in late) <= 8  # half of the space fails


def test_a_study_of_failures_still_answers():
    study = study_of()
    for _ in range(15):
        study.tell(study.ask(SPACE), state=TrialState.FAIL)

    assert len({tuple(trial.params.items()) for trial in study.trials}) == 15


def constrain(study, trial, violation):
    """Set a constraint, with any version of Optuna."""
    for key, value in constraints.attributes({"left": violation}).items():
        study._storage.set_trial_system_attr(trial._trial_id, key, value)


def test_a_failure_is_taken_to_miss_the_constraints():
    """Here the violation falls towards x = 1, beyond 0.5 every trial fails, and none is feasible."""
    study = study_of()
    for _ in range(25):
        trial = study.ask({"x": FloatDistribution(-1.0, 1.0)})
        x = trial.params["x"]
        if x > 0.5:
            study.tell(trial, state=TrialState.FAIL)
        else:
            constrain(study, trial, 2.0 - x)
            study.tell(trial, x)

    late = [trial.params["x"] for trial in study.trials[15:]]
    assert sum(x > 0.5 for x in late) <= 3
    assert sum(0.3 < x <= 0.5 for x in late) >= 6


def test_constraints_are_kept():
    study = study_of()
    for _ in range(40):
        trial = study.ask(SPACE)
        constrain(study, trial, trial.params["x"] + 0.5)  # x at most -0.5
        study.tell(trial, bowl(trial.params))

    feasible = [trial for trial in study.trials if trial.params["x"] <= -0.5]
    assert len(feasible) > 20
    assert min(trial.value for trial in feasible) < 0.26  # 0.25 at the limit


def test_pruned_trials_count_by_their_last_rank():
    study = study_of()
    for _ in range(30):
        trial = study.ask(SPACE)
        value = bowl(trial.params)
        trial.report(10.0 + value, 0)
        if value > 0.5:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)

    assert study.best_value < 0.02, study.best_params


def test_two_objectives_spread_along_the_front():
    study = study_of(["minimize", "minimize"])
    searched(study, 40, lambda params: (params["x"] ** 2, (params["x"] - 0.5) ** 2))

    inside = [trial.params["x"] for trial in study.trials[10:] if 0.0 <= trial.params["x"] <= 0.5]
    assert len(inside) >= 15  # a quarter of the interval; at random 7 of 30
    assert max(inside) - min(inside) > 0.3


def test_what_is_enqueued_is_completed_given_what_it_says():
    study = searched(study_of(), 12, bowl)
    study.enqueue_trial({"k": 9})

    trial = study.ask(SPACE)

    assert trial.params["k"] == 9
    assert set(trial.params) == set(SPACE)


def ended(number, params, value, attributes=None):
    state = TrialState.COMPLETE if value is not None else TrialState.RUNNING
    return create_trial(
        state=state, value=value, params=params, distributions=SPACE, user_attrs=attributes or {}
    )


points = st.fixed_dictionaries(
    {
        "x": st.floats(-1.0, 1.0),
        "rate": st.floats(1e-5, 1.0),
        "k": st.integers(1, 9),
        "kind": st.sampled_from(["plain", "other", None]),
    }
)


@settings(max_examples=20, deadline=None)
@given(
    history=st.lists(st.tuples(points, st.one_of(st.none(), st.floats(-5, 5))), min_size=6, max_size=12),
    refused=points,
    data=st.data(),
)
def test_a_proposal_is_a_function_of_what_ended_what_runs_seed_and_number(history, refused, data):
    live = study_of(number=20)
    order = data.draw(st.permutations(range(len(history))))
    for params, _ in history:
        live.enqueue_trial(params)
        live.ask(SPACE)
    for index in order:
        if history[index][1] is not None:
            live.tell(index, history[index][1])
    again = study_of(number=20)
    for number, (params, value) in enumerate(history):
        again.add_trial(ended(number, params, value))
    # What was refused for an earlier number is no part of it.
    never = create_trial(state=TrialState.FAIL, params=refused, distributions=SPACE, user_attrs={REFUSED: 5})
    again.add_trial(never)

    assert live.ask(SPACE).params == again.ask(SPACE).params


def test_another_number_of_blas_threads_is_no_other_proposal():
    def proposed(limit):
        with threadpool_limits(limits=limit, user_api="blas"):
            return [trial.params for trial in searched(study_of(), 25, bowl).trials]

    assert proposed(1) == proposed(4)


def test_what_was_refused_for_a_number_is_not_proposed_for_it_again():
    history = searched(study_of(), 12, bowl).trials

    def proposed(refused, attempt):
        study = study_of(number=12, attempt=attempt)
        study.add_trials(history)
        for params in refused:
            study.add_trial(
                create_trial(
                    state=TrialState.FAIL, params=params, distributions=SPACE, user_attrs={REFUSED: 12}
                )
            )
        return study.ask(SPACE).params

    first = proposed([], 0)

    assert proposed([first], 1) != first


@pytest.mark.parametrize("count", [1, 50])
def test_spaces_of_one_and_of_fifty_parameters(count):
    space = {f"x{i}": FloatDistribution(0.0, 1.0) for i in range(count)}
    study = study_of()
    for _ in range(14):
        trial = study.ask(space)
        study.tell(trial, sum((value - 0.4) ** 2 for value in trial.params.values()))

    assert all(0.0 <= value <= 1.0 for value in study.best_params.values())
