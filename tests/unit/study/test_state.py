"""Events in any order against what the files alone give."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsl_optuna.core.objective import Objective, Scoring
from parsl_optuna.core.records import Asked, Outcome, ReferenceValue, State, Trial
from parsl_optuna.core.space import Float, Space
from parsl_optuna.study.plan.plans import ProblemInstance, Replication, StopRules, StudyPlan
from parsl_optuna.study.state import StudyState

from tests.toyrun import toy_plan

PLAN = toy_plan(1.0, 2.0)
PIDS = [problem.pid for problem in PLAN.problems]
INSTANCES = tuple(ProblemInstance(study.pid, study.label, study.base) for study in PLAN.studies)
COMPARISON = PLAN.task.comparison
RULES = StopRules(after_failures=2, patience=2)


def study_of(instances=INSTANCES[:1], stop=RULES, **how):
    return StudyPlan(
        pid=instances[0].pid,
        label="toy",
        method="guess",
        base=instances[0].base,
        budget_sec=1.0,
        max_trials=4,
        batch_size=4,
        space=Space({"x": Float(-2.0, 2.0)}),
        stop=stop,
        replication=Replication(**how),
        instances=instances,
    )


def trials_of(study, n_points=4):
    """Return (number, trial) of every trial of some points."""
    return [
        (number, Trial(PLAN.manifest_at(study, {"x": 0.1 * number}, slot), Asked(number, "2026", "search")))
        for number in range(n_points)
        for slot in study.slots()
    ]


def outcome_of(trial, value, state=State.OK):
    manifest = trial.manifest
    return Outcome(
        manifest.trial_id, manifest.pid, manifest.method, state, None if state is State.OK else "why",
        1.0, 1.0, "2026", "2026", "host", metrics={"value": value} if state is not State.FAILED else {},
    )  # fmt: skip


def reference(pid):
    return ReferenceValue(float(PIDS.index(pid)), 0.1, "ok", None, f"r_{pid}")


def essence(state):
    """Return what must not depend on the order of events, nothing running."""
    state.resumed()
    state.rank()
    return {
        "points": {
            one: (entry.objectives, entry.spread, entry.outcome) for one, entry in state.points.items()
        },
        "runs": {one: entry.objectives for one, entry in state.runs.items()},
        "waiting": set(state.waiting),
        "unfinished": set(state.unfinished),
        "completed": set(state.completed),
        "best": state.best and state.best.manifest.trial_id,
        "failed": state.n_failed,
        "stop": state.stop_reason,
    }


def from_files(study, asked, outcomes, ready):
    state = StudyState(study, Scoring(), COMPARISON, [pid for pid in PIDS if pid not in ready])
    for pid in sorted(ready):
        state.reference_ready(pid, reference(pid))
    for number, trial in asked:
        state.asked(trial, number)
        if trial.manifest.trial_id in outcomes:
            state.ended(trial, outcomes[trial.manifest.trial_id])
    return state


def interleaved(random, sequences):
    """Return the events of several sequences in some order that keeps the order within each."""
    left = [list(one) for one in sequences if one]
    while left:
        mine = random.choice(left)
        yield mine.pop(0)
        left = [one for one in left if one]


@settings(max_examples=200, deadline=None)
@given(
    st.randoms(use_true_random=False),
    st.sampled_from([None, "mean", "worst", "rank"]),
    st.integers(1, 2),
    st.lists(st.sampled_from([-1.0, 0.0, 0.5, 3.0, None, "pruned"]), min_size=16, max_size=16),
)
def test_any_order_of_events_gives_what_the_files_alone_give(random, across, replicates, values):
    study = study_of(INSTANCES if across else INSTANCES[:1], replicates=replicates, across=across)
    live = StudyState(study, Scoring(), COMPARISON, PIDS)
    asked, outcomes, ready, sequences = [], {}, set(), []

    def end(trial, outcome):
        live.ended(trial, outcome)
        outcomes[trial.manifest.trial_id] = outcome

    def ask(number, trial):
        live.asked(trial, number)
        asked.append((number, trial))

    def arrive(pid):
        live.reference_ready(pid, reference(pid))
        ready.add(pid)

    for (number, trial), value in zip(trials_of(study), values, strict=False):
        state = {None: State.FAILED, "pruned": State.PRUNED}.get(value, State.OK)
        outcome = outcome_of(trial, value if state is State.OK else 9.0, state)
        steps = [lambda n=number, t=trial: ask(n, t), lambda n=number, t=trial: live.started(t, n)]
        if random.random() < 0.3:
            steps += [
                lambda t=trial: live.lost(t.manifest.trial_id),
                lambda n=number, t=trial: live.started(t, n),
            ]
        steps += [lambda t=trial, o=outcome: end(t, o)] * random.choice([1, 1, 1, 2])
        sequences.append(steps[: random.randint(0, len(steps))])
    sequences += [[lambda pid=pid: arrive(pid)] for pid in PIDS if random.random() < 0.7]
    sequences += [[lambda: live.stopped("the hours are over")], [live.resumed]]
    for event in interleaved(random, sequences):
        event()

    assert essence(live) == essence(from_files(study, asked, outcomes, ready))


def ready_state(study, scoring=None, waits_for=()):
    state = StudyState(study, scoring or Scoring(), COMPARISON, waits_for)
    if not waits_for:
        state.reference_ready(PIDS[0], reference(PIDS[0]))
    return state


def told(state, *values):
    """End as many points, with these values or failed."""
    for (number, trial), value in zip(trials_of(state.study, len(values)), values, strict=True):
        state.started(trial, number)
        how = State.FAILED if value is None else State.OK
        state.ended(trial, outcome_of(trial, value, how))
    return state


def test_a_trial_that_ends_before_its_reference_waits_for_it():
    state = told(ready_state(study_of(), waits_for=PIDS), 1.5)
    assert (len(state.waiting), len(state.points)) == (1, 0)
    assert state.is_waiting_for_reference

    state.reference_ready(PIDS[0], reference(PIDS[0]))

    assert (len(state.waiting), len(state.points)) == (0, 1)
    assert state.best.objectives == {"error": 1.5}


@pytest.mark.parametrize(
    ("values", "stops"), [((None,), False), ((None, None), True), ((None, 1.0, None), False)]
)
def test_a_study_stops_when_its_first_trials_all_failed(values, stops):
    state = told(ready_state(study_of(stop=StopRules(after_failures=2))), *values)

    assert (state.stop_reason is not None) == stops


def test_a_late_success_lets_a_study_with_failures_go_on():
    state = told(ready_state(study_of(stop=StopRules(after_failures=2))), None, None)
    assert "first 2 trials all failed, the last one: why" in state.stop_reason

    number, trial = trials_of(state.study)[3]
    state.started(trial, number)
    state.ended(trial, outcome_of(trial, 1.0))

    assert state.stop_reason is None


def test_pruned_trials_are_no_failures():
    state = ready_state(study_of(stop=StopRules(after_failures=1)))
    number, trial = trials_of(state.study)[0]
    state.asked(trial, number)

    state.ended(trial, outcome_of(trial, 3.0, State.PRUNED))

    assert (state.n_failed, state.stop_reason) == (0, None)


@pytest.mark.parametrize(("value", "stops"), [(0.5, True), (0.5000001, False), (0.4, True)])
def test_a_target_that_is_just_reached_stops(value, stops):
    state = told(ready_state(study_of(stop=StopRules(target=0.5))), value)

    assert (state.stop_reason is not None) == stops


@pytest.mark.parametrize(("value", "stops"), [(0.5, True), (0.4999999, False), (0.6, True)])
def test_a_target_of_what_is_maximised_is_a_lower_bound(value, stops):
    scoring = Scoring(Objective("metric", metric="value", goal="maximize"))

    state = told(ready_state(study_of(stop=StopRules(target=0.5)), scoring), value)

    assert (state.stop_reason is not None) == stops
    if stops:
        assert f"{value:.4g} is at least 0.5" in state.stop_reason


@pytest.mark.parametrize(
    ("values", "stops"), [((1.0, 2.0), False), ((1.0, 2.0, 3.0), True), ((3.0, 2.0, 1.0), False)]
)
def test_patience_counts_the_trials_since_the_best_one(values, stops):
    state = told(ready_state(study_of(stop=StopRules(patience=2))), *values)

    assert (state.stop_reason is not None) == stops


def test_of_equal_values_the_earlier_trial_is_the_best():
    study = study_of(stop=StopRules())
    state = ready_state(study)
    for number, trial in reversed(trials_of(study)):
        state.asked(trial, number)
        state.ended(trial, outcome_of(trial, 1.0))

    assert state.best.asked.number == 0


def test_the_first_order_to_stop_counts_and_a_new_start_ends_it():
    state = ready_state(study_of())
    state.stopped("the hours are over")
    state.stopped("later")
    assert state.stop_reason == "the hours are over"

    state.resumed()

    assert state.stop_reason is None


def test_a_second_outcome_of_a_trial_is_none():
    state = told(ready_state(study_of()), 1.0)
    _, trial = trials_of(state.study)[0]

    state.ended(trial, outcome_of(trial, 0.0))

    assert state.best.objectives == {"error": 1.0}
    assert state.completed == [0]


def test_fixed_points_without_an_objective_fail_by_their_state_alone():
    study = replace(study_of(), points=())
    state = StudyState(study, Scoring(), None)
    states = (State.OK, State.FAILED, State.PRUNED)
    for (_, trial), how in zip(trials_of(study, 3), states, strict=True):
        state.asked(trial, trial.manifest.trial_id)
        state.ended(trial, outcome_of(trial, 1.0, how))

    assert (len(state.points), state.n_failed) == (3, 1)


def test_an_infeasible_point_is_best_only_where_none_is_feasible():
    study = study_of()
    names = replace(COMPARISON, violation="far")
    state = StudyState(study, Scoring(), names)
    state.reference_ready(PIDS[0], reference(PIDS[0]))
    steps = [(0.1, 2.0, 0), (0.5, 1.0, 1), (0.9, 0.0, 2), (0.3, 0.5, 2)]

    for (number, trial), (value, far, best) in zip(trials_of(study), steps, strict=True):
        outcome = outcome_of(trial, value)
        status = "ok" if far == 0.0 else "uncertain"
        state.asked(trial, number)
        state.ended(trial, replace(outcome, metrics={"value": value, "status": status, "far": far}))

        assert state.best.asked.number == best
