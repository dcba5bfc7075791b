"""First trials beside the reference."""

from hypothesis import given, settings
from hypothesis import strategies as st
from parsl_optuna.report import tables as aggregate
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.active import ActiveStudy

from tests.fakes import ShuffledExecutor, requested
from tests.toyrun import drive, rows, toy_plan


class ReferenceLast(ShuffledExecutor):
    """Holds references back until nothing else is left to run."""

    def __init__(self, plan):
        super().__init__(0)
        self._references = {problem.reference.trial_id for problem in plan.problems}
        self.order = []

    def pump(self, snapshot=None):
        trials = [held for held in self._held if requested(held[2], "trial_id") not in self._references]
        held = (trials or self._held)[:1]
        if held:
            self.order.append("trial" if trials else "reference")
            rest = [one for one in self._held if one is not held[0]]
            self._held = held
            super().pump()
            self._held = rest + self._held


def test_a_batch_of_trials_runs_while_the_reference_does_and_no_more(tmp_path):
    plan = toy_plan(batch_size=3, max_trials=8)
    executor = ReferenceLast(plan)

    result = drive(plan, tmp_path, executor)

    # The data of the problem come first, as a job of their own.
    assert executor.order == ["trial"] * 4 + ["reference"] + ["trial"] * 5
    assert len(result.studies[0].ended) == 8
    assert all(entry.values is not None for entry in result.studies[0].ended.values())


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.integers(0, 10**6))
def test_the_reference_may_come_at_any_time(tmp_path_factory, batch, seed):
    plan = toy_plan(1.0, 2.0, batch_size=batch)
    folder = tmp_path_factory.mktemp("a")

    mixed = drive(plan, folder, ShuffledExecutor(seed))
    again = drive(plan, folder)

    assert [len(trials.ended) for trials in mixed.studies] == [6, 6]
    assert again.n_started == 0
    assert rows(again) == rows(mixed)


def test_at_one_slot_it_makes_no_difference(tmp_path):
    plan = toy_plan(batch_size=1, max_trials=6)

    early = drive(plan, tmp_path / "a", ReferenceLast(plan))
    late = drive(plan, tmp_path / "b")

    assert rows(early) == rows(late)


def test_what_ended_before_the_reference_takes_its_slot_in_the_next_life_too(tmp_path):
    plan = toy_plan(batch_size=3)
    drive(plan, tmp_path, ReferenceLast(plan))
    store = ArtifactStore(tmp_path)

    early = ActiveStudy(plan, plan.studies[0], store, {}, [plan.problems[0].pid])

    assert early.next() is None


def test_the_table_from_artifacts_alone_has_the_objective_of_early_trials(tmp_path):
    plan = toy_plan(batch_size=3, max_trials=6)
    result = drive(plan, tmp_path, ReferenceLast(plan))
    store = ArtifactStore(tmp_path)

    collected = {entry.manifest.trial_id: entry for entry in aggregate.collect(store, plan.task.name)}
    for trial_id, entry in result.studies[0].runs.items():
        assert dict(collected[trial_id].objectives) == dict(entry.objectives)


def test_trials_beside_a_reference_that_fails_come_to_nothing(tmp_path):
    plan = toy_plan({"truth": 1.0, "trouble": "reference"}, batch_size=2)

    result = drive(plan, tmp_path, ReferenceLast(plan))

    assert result.studies == ()
    assert "no truth today" in result.failures[plan.problems[0].pid]
