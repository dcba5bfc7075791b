import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsl_optuna.execution.simulated import SimulatedExecutor
from parsl_optuna.report import tables as aggregate
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.driver import Driver
from parsl_optuna.study.simulation import Simulation

from tests.fakes import ShuffledExecutor, requested
from tests.toyrun import drive, rows, toy_plan


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 9))
def test_exactly_max_trials_end_in_any_order(tmp_path_factory, seed, batch, max_trials):
    plan = toy_plan(1.0, 2.0, methods=("guess", "other"), batch_size=batch, max_trials=min(max_trials, 6))
    executor = ShuffledExecutor(seed)

    result = drive(plan, tmp_path_factory.mktemp("a"), executor)

    assert [len(trials.ended) for trials in result.studies] == [min(max_trials, 6)] * 4
    assert len({str(args) for args in executor.submitted}) == len(executor.submitted)
    assert executor.most_held <= 4 * batch + 2


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_lost_workers_cost_no_trial(tmp_path_factory, seed):
    plan = toy_plan(1.0, 2.0, batch_size=3)
    folder = tmp_path_factory.mktemp("a")

    drive(plan, folder, ShuffledExecutor(seed, lose=0.3))
    result = drive(plan, folder)

    assert all(len(trials.ended) == 6 for trials in result.studies)
    assert {e.outcome.state.value for t in result.studies for e in t.ended.values()} == {"ok"}


def test_two_folders_give_the_same_table_at_one_slot(tmp_path):
    plan = toy_plan(1.0, batch_size=1, max_trials=8)

    assert rows(drive(plan, tmp_path / "a")) == rows(drive(plan, tmp_path / "b"))


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 9), st.booleans())
def test_at_one_slot_interrupted_and_uninterrupted_are_the_same(tmp_path_factory, stop_at, mid_trial):
    plan = toy_plan(1.0, batch_size=1, max_trials=8)
    folder = tmp_path_factory.mktemp("a")
    killed = KilledExecutor(stop_at, mid_trial)

    with pytest.raises(KeyboardInterrupt):
        drive(plan, folder, killed)
    resumed = drive(plan, folder)

    assert rows(resumed) == rows(drive(plan, tmp_path_factory.mktemp("b")))


class KilledExecutor(ShuffledExecutor):
    """Ends the driver at its n-th submission, before or after the work is done."""

    def __init__(self, stop_at, mid_trial):
        super().__init__(0)
        self._stop_at, self._mid_trial = stop_at, mid_trial

    def submit(self, function, *args, urgency=0.0):
        future = super().submit(function, *args, urgency=urgency)
        if len(self.submitted) == self._stop_at:
            if not self._mid_trial:
                self.pump()
            raise KeyboardInterrupt
        return future


def test_a_second_run_starts_nothing_and_gives_the_same_bytes(tmp_path):
    plan = toy_plan(1.0, confirm=2)
    store = ArtifactStore(tmp_path)
    drive(plan, tmp_path)
    aggregate.write(
        aggregate.table(aggregate.collect(store, plan.task.name), plan.task), tmp_path / "a.parquet"
    )

    again = drive(plan, tmp_path)
    aggregate.write(
        aggregate.table(aggregate.collect(store, plan.task.name), plan.task), tmp_path / "b.parquet"
    )

    assert again.n_started == 0
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize(
    ("trouble", "words"),
    [("reference", "no truth today"), ("prepare", "cannot be prepared")],
)
def test_a_failing_problem_stops_no_other(tmp_path, trouble, words):
    plan = toy_plan({"truth": 1.0, "trouble": trouble}, 2.0)

    result = drive(plan, tmp_path)

    assert words in result.failures[plan.problems[0].pid]
    assert [len(trials.ended) for trials in result.studies] == [6]


def test_an_untrusted_reference_is_marked_and_its_studies_run(tmp_path):
    plan = toy_plan({"truth": 1.0, "trouble": "distrust"})

    result = drive(plan, tmp_path)

    trusted = result.references[plan.problems[0].pid]
    assert not trusted.is_reliable
    assert trusted.status_reason == "R-hat 9"
    assert len(result.studies[0].successes) == 6


def test_an_untrusted_reference_runs_again_with_a_larger_budget_only(tmp_path):
    log = tmp_path / "log"
    problem = {"truth": 1.0, "trouble": "distrust", "log": str(log)}
    for budget in (10, 10, 5, 20, 20):
        drive(toy_plan(problem, max_trials=1, hmc_budget_sec=budget), tmp_path)

    assert log.read_text().count("exact") == 2


@pytest.mark.parametrize(
    ("trouble", "state"), [("all", "failed"), ("nan", "invalid"), ("memory", "out_of_memory")]
)
def test_a_failing_trial_is_a_row_with_a_state(tmp_path, trouble, state):
    result = drive(toy_plan({"truth": 1.0, "trouble": trouble}, stop_after_failures=0), tmp_path)

    ended = result.studies[0].ended.values()
    assert [e.outcome.state.value for e in ended] == [state] * 6
    assert all(e.values is None and e.outcome.reason for e in ended)


def test_a_worker_that_never_comes_back_is_lost_and_accounted(tmp_path):
    result = drive(toy_plan({"truth": 1.0}, max_trials=2, stop_after_failures=0), tmp_path, Careless())

    ended = result.studies[0].ended.values()
    assert [e.outcome.state.value for e in ended] == ["lost"] * 2
    assert "tried 3 times" in next(iter(ended)).outcome.reason


class Careless(ShuffledExecutor):
    """Loses every trial, and nothing else."""

    def __init__(self):
        super().__init__(0)

    def pump(self, snapshot=None):
        self._lose = 1.0 if any(requested(args, "method") == "guess" for _, _, args in self._held) else 0.0
        super().pump(snapshot)


def test_two_objectives_give_a_front(tmp_path):
    result = drive(toy_plan(objectives=["error", "cost"], max_trials=10, confirm=0), tmp_path)

    trials = result.studies[0]
    front = [member.means for member in trials.front()]
    assert front
    assert all(
        not any(o[0] <= v[0] and o[1] <= v[1] and o != v for o in (e.values for e in trials.successes))
        for v in front
    )


def test_stop_drains_what_runs(tmp_path):
    plan = toy_plan(batch_size=3, max_trials=9)
    executor = ShuffledExecutor(0)
    driver = None

    def observe(snapshot):
        if sum(study.ended for study in snapshot.studies) >= 2:
            driver.stop()
        executor.pump()

    driver = Driver(plan, ArtifactStore(tmp_path), executor, observe, refresh_sec=0.0)
    result = driver.run()

    assert result.interrupted
    assert 2 <= len(result.studies[0].ended) <= 6  # three ran beside the reference
    assert not result.studies[0].state.running


def test_snapshots_say_what_runs_what_is_done_and_how_long(tmp_path):
    seen = []
    executor = ShuffledExecutor(0)

    def observe(snapshot):
        seen.append(snapshot)
        executor.pump()

    drive(toy_plan(1.0, 2.0), tmp_path, executor, observe)

    assert (seen[0].references, seen[0].references_done) == (2, 0)
    assert seen[0].studies[0].note == "waits for its problem"
    assert seen[-1].references_done == 2
    assert [study.ended for study in seen[-1].studies] == [6, 6]
    assert seen[-1].studies[0].best is not None
    assert seen[-1].left_sec == 0


def test_a_study_that_waits_for_its_reference_starts_whichever_others_are_ready(tmp_path):
    """With a pruner, no trial starts before the reference: the study of the second problem neither."""
    result = drive(toy_plan(1.0, 2.0, 3.0, pruner="median"), tmp_path)

    assert [len(study.ended) for study in result.studies] == [6, 6, 6]


def test_the_time_left_is_that_of_the_trials_so_far(tmp_path):
    plan = toy_plan(batch_size=1, max_trials=8, method_budget_sec=100, hmc_budget_sec=1)
    simulation = Simulation(plan, ArtifactStore(tmp_path), {}, {})
    executor, seen = SimulatedExecutor(1, simulation.simulate), []

    Driver(simulation.plan, simulation.store, executor, seen.append, executor.now, refresh_sec=0.0).run()

    found = {one.studies[0].ended: one.left_sec for one in seen if one.studies[0].ended}
    assert found.keys() == set(range(1, 9))
    assert all(left == pytest.approx(100 * (8 - ended), rel=0.02) for ended, left in found.items())
